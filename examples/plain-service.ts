/**
 * An ordinary HTTP service for the examples; nothing in it knows of the mesh. PORT and NAME from the environment. SLOW_EVERY=n and
 * SLOW_MS: each n-th request is answered that much later. `/break` breaks it until `/mend`, `/seen` tells which requests it has had.
 */
import http from "node:http";

const name = process.env["NAME"] ?? "service";
const slowEvery = Number(process.env["SLOW_EVERY"] ?? 0);
const slowMs = Number(process.env["SLOW_MS"] ?? 0);
const seen: string[] = [];
let isBroken = false;

http
  .createServer((request, response) => {
    const { url = "/", headers, method } = request;
    const answer = (status: number, text: string): void => void response.writeHead(status).end(text);
    if (url === "/seen") return answer(200, JSON.stringify(seen));
    if (url === "/break") isBroken = true;
    if (url === "/mend") isBroken = false;
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const mark = headers["x-remora-mirror"] === undefined ? "" : " mirrored";
      seen.push(`${method} ${url} ${Buffer.concat(chunks).toString()}${mark}`.trim());
      if (isBroken) return answer(503, `${name} is broken`);
      const isSlow = slowEvery > 0 && seen.length % slowEvery === 0;
      setTimeout(() => answer(200, `${name} ${url}`), isSlow ? slowMs : 0);
    });
  })
  .listen(Number(process.env["PORT"]), "127.0.0.1");
