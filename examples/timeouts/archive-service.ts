/** Tells how much time its caller has left, or is slow. `/let-go` tells how many callers of the latter went away first. */
import http from "node:http";

let letGo = 0;

http
  .createServer(({ url, headers }, response) => {
    if (url === "/let-go") return void response.end(String(letGo));
    if (url === "/archive/left") return void response.end(String(headers["x-envoy-expected-rq-timeout-ms"]));
    const timer = setTimeout(() => response.end("late"), 5000);
    response.once("close", () => {
      clearTimeout(timer);
      if (!response.writableEnded) letGo++;
    });
  })
  .listen(Number(process.env["PORT"]), "127.0.0.1");
