/** An ordinary HTTP server; nothing in it knows who may call. PORT from the environment. */
import { createServer } from "node:http";

createServer((request, response) =>
  response.end(`${request.method} ${request.url} for ${request.headers["x-remora-caller"]}\n`),
).listen(Number(process.env["PORT"]), "127.0.0.1");
