/** An ordinary service that knows nothing of keys: every POST is a payment, and takes its time. PORT from the environment. */
import { createServer } from "node:http";

/** Longer than the shop waits. */
const workMs = 1000;
let payments = 0;

const server = createServer((request, response) => {
  const answer = (body: object): void =>
    void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
  request.resume().on("end", () => {
    if (request.method !== "POST") return answer({ payments });
    const payment = ++payments;
    setTimeout(() => answer({ payment }), workMs);
  });
});
process.once("SIGTERM", () => server.close(() => process.exit(0)));
server.listen(Number(process.env["PORT"]), "127.0.0.1");
