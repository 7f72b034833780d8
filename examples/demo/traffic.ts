/** HTTP calls of the demo, and what it reads from the sidecars' admin API. */
import http from "node:http";

const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: http.IncomingHttpHeaders;
}

export function call(port: number, path: string, method = "GET"): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: "127.0.0.1", port, path, method, agent }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.once("end", () =>
        resolve({ status: response.statusCode ?? 0, body, headers: response.headers }),
      );
      response.once("error", reject);
    });
    request.once("error", reject);
    request.end();
  });
}

export interface Tally {
  readonly calls: number;
  readonly failures: number;
  /** Key: instance that answered. */
  readonly byInstance: ReadonlyMap<string, number>;
}

/** Calls `path` `count` times, `concurrency` at a time, or until `isDone`. */
export async function load(
  port: number,
  path: string,
  count: number,
  concurrency: number,
  isDone = (): boolean => false,
): Promise<Tally> {
  const byInstance = new Map<string, number>();
  let calls = 0;
  let failures = 0;
  const worker = async (): Promise<void> => {
    while (calls < count && !isDone()) {
      calls++;
      const answer = await call(port, path).catch(() => undefined);
      if (answer?.status !== 200) failures++;
      else {
        const { instance } = JSON.parse(answer.body) as { instance: string };
        byInstance.set(instance, (byInstance.get(instance) ?? 0) + 1);
      }
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return { calls, failures, byInstance };
}

/** Sum of the series of a metric whose labels include `labels`, from a sidecar's admin port. */
export async function metric(
  adminPort: number,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const { body } = await call(adminPort, "/stats/prometheus");
  let sum = 0;
  for (const line of body.split("\n")) {
    if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
    if (Object.entries(labels).every(([label, value]) => line.includes(`${label}="${value}"`)))
      sum += Number(line.split(" ").at(-1));
  }
  return sum;
}
