/** An ordinary gRPC server without TLS; nothing in it knows of the mesh. PORT and NAME from the environment. */
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { Greeter, type Greeting, type Name } from "./greeter.js";

const instance = process.env["NAME"] ?? "greeter";
const greeting = ({ name }: Name): Greeting => ({ text: `Hello, ${name}`, instance });

const server = new Server();
server.addService(Greeter.service, {
  Greet: (call: ServerUnaryCall<Name, Greeting>, reply: sendUnaryData<Greeting>) =>
    reply(null, greeting(call.request)),
  GreetAll: (call: ServerDuplexStream<Name, Greeting>) => {
    call.on("data", (name: Name) => call.write(greeting(name)));
    call.on("end", () => call.end());
  },
});
server.bindAsync(`127.0.0.1:${process.env["PORT"]}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
});
process.once("SIGTERM", () => server.tryShutdown(() => process.exit(0)));
