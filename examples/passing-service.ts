/**
 * An ordinary service that asks another one and answers what that answers; nothing in it knows of the mesh. Its port is PORT, and
 * the first part of a path names whom it asks: `/payment/tea` is `/tea` of the service whose address stands in PAYMENT_URL.
 */
import http from "node:http";

const agent = new http.Agent({ keepAlive: true });

http
  .createServer((request, response) => {
    const [, service = "", rest = ""] = /^\/([a-z-]+)(\/.*)?$/.exec(request.url ?? "") ?? [];
    const base = process.env[`${service.toUpperCase().replaceAll("-", "_")}_URL`];
    if (base === undefined) return void response.writeHead(404).end("whom?\n");
    http
      .get(new URL(rest === "" ? "/" : rest, base), { agent }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      })
      .once("error", (error) => response.writeHead(599).end(`${error.message}\n`));
  })
  .listen(Number(process.env["PORT"]), "127.0.0.1");
