/** An application of HTTP/2 without TLS: clients must know that it speaks it. PORT from the environment. */
import http2 from "node:http2";

http2
  .createServer((request, response) => {
    response.addTrailers({ "x-checksum": "sum-12" });
    response.end(`12 pieces, asked over HTTP/${request.httpVersion}`);
  })
  .listen(Number(process.env["PORT"]), "127.0.0.1");
