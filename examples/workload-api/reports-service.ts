/** Greets its caller by the name that the mesh has proven. */
import { createServer } from "node:http";

createServer((request, response) => {
  response.end(`reports greets ${String(request.headers["x-remora-caller"])}`);
}).listen(Number(process.env["PORT"]), "127.0.0.1");
