/**
 * Makes reports, slowly; a path under /archive is asked of the archive. Of its caller's request it forwards `traceparent` alone, as
 * tracing libraries do: that is enough for its sidecar to know how much time is left.
 */
import http, { type IncomingMessage, type ServerResponse } from "node:http";

function askArchive({ url, headers }: IncomingMessage, response: ServerResponse): void {
  const options = { headers: { traceparent: headers["traceparent"] ?? "" } };
  http
    .get(`${process.env["ARCHIVE_URL"]}${url}`, options, (answer) => {
      response.writeHead(answer.statusCode ?? 502);
      answer.pipe(response);
    })
    .once("error", () => response.writeHead(502).end());
}

http
  .createServer((request, response) => {
    if (request.url?.startsWith("/archive/") === true) return askArchive(request, response);
    const timer = setTimeout(() => response.end("late"), 5000);
    response.once("close", () => clearTimeout(timer));
  })
  .listen(Number(process.env["PORT"]), "127.0.0.1");
