/** Calls the chain: as many requests as its argument says, each of a trace of its own, then one with a deadline. Prints what came. */
import { randomBytes } from "node:crypto";
import http from "node:http";

const count = Number(process.argv[2]);
const concurrency = 8;

function call(path: string): Promise<{ readonly status: number; readonly text: string }> {
  const traceparent = `00-${randomBytes(16).toString("hex")}-${randomBytes(8).toString("hex")}-01`;
  return new Promise((resolve, reject) => {
    http
      .get(`${process.env["A_URL"]}${path}`, { headers: { traceparent } }, (answer) => {
        let text = "";
        answer.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        answer.once("end", () => resolve({ status: answer.statusCode ?? 0, text }));
      })
      .once("error", reject);
  });
}

const statuses: Record<string, number> = {};
let sent = 0;
async function callInTurn(): Promise<void> {
  while (sent < count) {
    const { status } = await call(sent++ % 2 === 0 ? "/unavailable" : "/reset");
    statuses[status] = (statuses[status] ?? 0) + 1;
  }
}
await Promise.all(Array.from({ length: concurrency }, callInTurn));
const slow = await call("/slow");
console.log(JSON.stringify({ statuses, slow: `${slow.status} ${slow.text.trim()}` }));
