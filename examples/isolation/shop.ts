/** Sends orders three times what it can do, for SECONDS: 40 critical, 160 default and 400 batch requests a second. */
import http from "node:http";

const rates = { critical: 40, default: 160, batch: 400 };
type Class = keyof typeof rates;
const classes = Object.keys(rates) as Class[];
const seconds = Number(process.env["SECONDS"] ?? 3);
/** Not counted: the limit is being found. */
const warmUpSeconds = 1.5;
const agent = new http.Agent({ keepAlive: true });
const results = new Map(classes.map((name) => [name, { sent: 0, ok: 0, shed: 0, ms: [] as number[] }]));

/** Resolves with `ok`, or with the error that the mesh names. */
function send(name: Class): Promise<string> {
  return new Promise((resolve) => {
    const headers = { "x-priority": name };
    http
      .get(process.env["ORDERS_URL"] ?? "", { agent, headers, timeout: 10_000 }, (response) => {
        response.resume().once("end", () => {
          const error = response.headers["x-remora-error"];
          resolve(response.statusCode === 200 ? "ok" : (error?.toString() ?? `${response.statusCode}`));
        });
      })
      .once("timeout", () => resolve("timeout"))
      .once("error", (error) => resolve(error.message));
  });
}

async function measured(name: Class): Promise<void> {
  const result = results.get(name);
  const startMs = performance.now();
  const outcome = await send(name);
  if (result === undefined || startMs < warmUpMs) return;
  result.sent++;
  if (outcome === "ok") result.ms.push(performance.now() - startMs);
  if (outcome === "ok") result.ok++;
  if (outcome === "overloaded") result.shed++;
}

const beginMs = performance.now();
const warmUpMs = beginMs + warmUpSeconds * 1000;
const pending: Promise<void>[] = [];
const sent = { critical: 0, default: 0, batch: 0 };
const timer = setInterval(() => {
  const passed = (performance.now() - beginMs) / 1000;
  for (const name of classes)
    while (sent[name] < passed * rates[name]) {
      sent[name]++;
      pending.push(measured(name));
    }
  if (passed < seconds + warmUpSeconds) return;
  clearInterval(timer);
  void Promise.all(pending).then(() => {
    const summary = [...results].map(([name, { ms, ...counts }]) => {
      const sorted = ms.sort((a, b) => a - b);
      return [name, { ...counts, p99: Math.round(sorted[Math.floor(sorted.length * 0.99)] ?? 0) }] as const;
    });
    console.log(JSON.stringify(Object.fromEntries(summary)));
    process.exit(0);
  });
}, 5);
