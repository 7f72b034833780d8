/** A gRPC server that tells its health by grpc.health.v1: not serving while the file BROKEN_FILE exists. */
import { existsSync } from "node:fs";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";

const servingStatus = { serving: 1, notServing: 2 };

const server = new Server();
server.addService(
  {
    Check: {
      path: "/grpc.health.v1.Health/Check",
      requestStream: false,
      responseStream: false,
      requestSerialize: (bytes: Buffer) => bytes,
      requestDeserialize: (bytes: Buffer) => bytes,
      // HealthCheckResponse{status = 1}.
      responseSerialize: (status: number) => Buffer.from([0x08, status]),
      responseDeserialize: (bytes: Buffer) => bytes[1] ?? 0,
    },
  },
  {
    Check: (_call: ServerUnaryCall<Buffer, number>, reply: sendUnaryData<number>) => {
      const isBroken = existsSync(process.env["BROKEN_FILE"] ?? "");
      reply(null, isBroken ? servingStatus.notServing : servingStatus.serving);
    },
  },
);
server.bindAsync(`127.0.0.1:${process.env["PORT"]}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
});
process.once("SIGTERM", () => server.tryShutdown(() => process.exit(0)));
