/**
 * `make example NAME=http2`: an application that speaks HTTP/2 and nothing else, called by one client of HTTP/1.1 and one of HTTP/2
 * through the same port. Trailers arrive at both.
 */
import http from "node:http";
import http2 from "node:http2";
import path from "node:path";
import { freePorts } from "../demo/free-ports.js";
import { show } from "../small-mesh.js";

const plain = () => [process.execPath, path.resolve(import.meta.dirname, "../plain-service.js")];
const server = () => [process.execPath, path.join(import.meta.dirname, "http2-service.js")];

/** Answer and trailer, by HTTP/1.1. */
function byHttp1(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.get({ port, host: "127.0.0.1", headers: { te: "trailers" } }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.on("end", () =>
        resolve(`HTTP/${response.httpVersion} ${body}, ${response.trailers["x-checksum"] ?? "none"}`),
      );
    });
    request.once("error", reject);
  });
}

/** The same by HTTP/2 with prior knowledge. */
function byHttp2(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.once("error", reject);
    const request = session.request({ te: "trailers" });
    let body = "";
    let checksum = "none";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("trailers", (trailers) => (checksum = String(trailers["x-checksum"])));
    request.once("error", reject);
    request.on("end", () => {
      session.close();
      resolve(`HTTP/2 ${body}, ${checksum}`);
    });
  });
}

await show(async (mesh) => {
  const [local = 0] = await freePorts(1);
  await mesh.serve({
    name: "stock-1",
    service: "stock",
    command: server,
    flags: ["--protocol", "http2"],
  });
  const shop = await mesh.serve({
    name: "shop-1",
    service: "shop",
    command: plain,
    flags: ["--upstream", `stock:${local}`],
  });
  await mesh.untilKnown(shop, "stock", 1);
  for (const answer of [await byHttp1(local), await byHttp2(local)]) {
    console.log(answer);
    if (!answer.endsWith("12 pieces, asked over HTTP/2.0, sum-12")) throw new Error("that was not expected");
  }
});
