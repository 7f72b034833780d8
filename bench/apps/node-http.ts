/** The application where there is no nginx: `node node-http.js PORT BYTES`. */
import { createServer } from "node:http";

const [, , port, bytes] = process.argv;
const body = Buffer.alloc(Number(bytes), "x");
const server = createServer((request, response) => {
  request.resume();
  response.writeHead(200, { "content-type": "text/plain", "content-length": body.length }).end(body);
});
server.keepAliveTimeout = 600_000;
server.listen(Number(port), "127.0.0.1");
