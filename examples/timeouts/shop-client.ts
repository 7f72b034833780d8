/** An ordinary client: asks for reports, each request in a trace of its own, and prints what came. */
import { randomBytes } from "node:crypto";

const left = "x-envoy-expected-rq-timeout-ms";

async function ask(path: string, own: Readonly<Record<string, string>> = {}): Promise<string> {
  const traceparent = `00-${randomBytes(16).toString("hex")}-${randomBytes(8).toString("hex")}-01`;
  const response = await fetch(`${process.env["REPORTS_URL"]}${path}`, { headers: { traceparent, ...own } });
  return `${response.status} ${(await response.text()).trim()}`;
}

console.log(`slow: ${await ask("/slow")}`);
console.log(`summary: ${await ask("/summary")}`);
console.log(`twice: ${await ask("/twice")}`);
console.log(`own deadline: ${await ask("/slow", { [left]: "150" })}`);
console.log(`two hops: ${(await ask("/archive/slow")).slice(0, 3)}`);
console.log(`left: ${await ask("/archive/left")}`);
