import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

export interface SteadyLoad {
  readonly ratePerSecond: number;
  readonly seconds: number;
  /** What the client waits for an answer, milliseconds. */
  readonly patienceMs: number;
  readonly method?: "GET" | "POST";
  /** Of the n-th request. */
  readonly port: (n: number) => number;
  readonly path: string;
}

/** What a client saw. */
export interface Outcome {
  readonly sent: number;
  /** Answers with 200. */
  readonly good: number;
  /** Key: status, or the code of what went wrong. */
  readonly bad: ReadonlyMap<string, number>;
  /** Over all requests, the failed ones too, milliseconds. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Sends at a constant rate, answered or not: what waits does not slow the load down. */
export async function sendSteadily(load: SteadyLoad): Promise<Outcome> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1000 });
  const total = Math.round(load.ratePerSecond * load.seconds);
  const startMs = performance.now();
  const running: Promise<string>[] = [];
  const times: number[] = [];
  while (running.length < total) {
    const due = Math.min(total, Math.ceil(((performance.now() - startMs) / 1000) * load.ratePerSecond));
    while (running.length < due) {
      const sentMs = performance.now();
      const answer = send(load, running.length, agent);
      running.push(answer.finally(() => times.push(performance.now() - sentMs)));
    }
    await sleep(5);
  }
  const bad = new Map<string, number>();
  let good = 0;
  for (const result of await Promise.all(running)) {
    if (result === "200") good++;
    else bad.set(result, (bad.get(result) ?? 0) + 1);
  }
  agent.destroy();
  times.sort((a, b) => a - b);
  const at = (share: number): number =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
  return { sent: total, good, bad, p50Ms: at(0.5), p99Ms: at(0.99) };
}

function send(load: SteadyLoad, n: number, agent: http.Agent): Promise<string> {
  const { method = "GET", patienceMs, path } = load;
  const traceId = (n + 1).toString(16).padStart(32, "c");
  const headers = { traceparent: `00-${traceId}-${"1".padStart(16, "0")}-01` };
  return new Promise((resolve) => {
    const request = http.request(
      { host: "127.0.0.1", port: load.port(n), method, path, agent, headers },
      (response) => {
        response.resume();
        response.on("error", () => resolve("cut off"));
        response.on("end", () => resolve(String(response.statusCode)));
      },
    );
    const timer = setTimeout(
      () => request.destroy(Object.assign(new Error("late"), { code: "no answer" })),
      patienceMs,
    );
    request.on("close", () => clearTimeout(timer));
    request.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    request.end();
  });
}
