/** The calling service of the demo: passes each request on to api, at the address that `remora run` put into its environment. */
import http, { createServer } from "node:http";

const api = process.env["API_URL"] ?? "";
const agent = new http.Agent({ keepAlive: true });

const server = createServer((request, response) => {
  const call = http.request(
    new URL(request.url ?? "/", api),
    { method: request.method ?? "GET", agent },
    (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    },
  );
  call.on("error", (error) => response.writeHead(599).end(`${error.message}\n`));
  request.pipe(call);
});
server.listen(Number(process.env["PORT"]), "127.0.0.1");
process.once("SIGTERM", () => server.close(() => process.exit(0)));
