/** An impatient client: gives up after 300 ms and sends its payment again, with the same key, until it is answered. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const url = `${process.env["PAYMENTS_URL"]}/payments`;

/** `gave up`, or the status and what came with it. */
async function pay(key: string): Promise<string> {
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "idempotency-key": `"${key}"` },
      body: JSON.stringify({ cents: 4200 }),
      signal: AbortSignal.timeout(300),
    });
    const text = (await response.text()).trim();
    const isReplayed = response.headers.get("idempotency-replayed") === "true";
    return `${response.status} ${text}${isReplayed ? " (replayed)" : ""}`;
  } catch {
    return "gave up";
  }
}

const key = randomUUID();
for (let attempt = 1; attempt <= 20; attempt++) {
  const outcome = await pay(key);
  console.log(`attempt ${attempt}: ${outcome}`);
  if (outcome.startsWith("200")) break;
  await sleep(300);
}
const unkeyed = await fetch(url, { method: "POST", body: "{}" });
console.log(`without a key: ${unkeyed.status} ${unkeyed.headers.get("x-remora-error")}`);
const made = (await (await fetch(url)).json()) as { readonly payments: number };
console.log(`payments made: ${made.payments}`);
