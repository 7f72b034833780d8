/** The two messages of grpc.health.v1.Health/Check, by hand: a client of their own would cost more than the rest of the checks. */

export const healthCheckPath = "/grpc.health.v1.Health/Check";

/** HealthCheckRequest{service = 1} as one gRPC message. `service` is ASCII. */
export function healthCheckRequest(service: string): Buffer {
  const name = Buffer.from(service, "latin1");
  // Tag and length of field 1 (wire type 2); an empty string is not written (proto3). Names are below 16 KiB.
  const length = name.length < 128 ? [name.length] : [(name.length & 0x7f) | 0x80, name.length >> 7];
  const message = name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, ...length]), name]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** HealthCheckResponse.ServingStatus. */
export const serving = 1;
const statusNames = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"] as const;

/** HealthCheckResponse{status = 1} of one gRPC message; undefined when it is none. Absent is 0, UNKNOWN. */
export function healthCheckStatus(body: Buffer): number | undefined {
  if (body.length < 5 || body[0] !== 0 || body.length !== 5 + body.readUInt32BE(1)) return undefined;
  if (body.length === 5) return 0;
  // One varint field, and a status below 128: whatever else stands there is not this message.
  return body.length === 7 && body[5] === 0x08 && (body[6] ?? 0x80) < 0x80 ? body[6] : undefined;
}

export function statusName(status: number): string {
  return statusNames[status] ?? String(status);
}
