/**
 * Reads a big reply again and again: `node drain.js PORT PATH SECONDS`; prints `{"bytes": ...}`.
 * A transfer that is cut or refused ends it with exit code 1.
 */
import http from "node:http";

const [, , port, target, seconds] = process.argv;
const endMs = performance.now() + Number(seconds) * 1000;
let bytes = 0;

function read(): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: "127.0.0.1", port: Number(port), path: target }, (response) => {
      if (response.statusCode !== 200) return reject(new Error(`status ${response.statusCode}`));
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (performance.now() < endMs) return;
        resolve();
        request.destroy();
      });
      response.once("end", resolve);
      response.once("error", reject);
    });
    request.once("error", reject);
  });
}

while (performance.now() < endMs) await read();
console.log(JSON.stringify({ bytes }));
process.exit(0);
