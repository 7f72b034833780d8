/** HTTP clients of the mesh tests: single requests, and a steady load that says what became of each request. */
import http from "node:http";

export interface Call {
  readonly port: number;
  readonly method?: string;
  /** Default "/". */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly agent?: http.Agent | false;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
  /** Code of docs/errors.md when Remora itself answered. */
  readonly error: string | undefined;
}

/** Longer than any pause that the tests bring about. */
const timeoutMs = 15_000;

/** One request to 127.0.0.1. Rejects when there is no whole answer within 15 s. */
export function call({ port, method = "GET", path = "/", headers, body, agent }: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: "127.0.0.1", port, method, path, headers, agent: agent ?? false, timeout: timeoutMs },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("error", reject);
        response.on("end", () => {
          const error = response.headers["x-remora-error"];
          resolve({ status: response.statusCode ?? 0, body: text, error: error?.toString() });
        });
      },
    );
    request.on("timeout", () =>
      request.destroy(new Error(`${method} ${path}: no answer in ${timeoutMs} ms`)),
    );
    request.on("error", reject);
    request.end(body);
  });
}

export interface LoadResult {
  readonly sent: number;
  readonly succeeded: number;
  /** One line for each request that did not end with 200. */
  readonly failures: readonly string[];
}

export interface Load {
  readonly sent: number;
  /** Sends no more, waits for what is under way. */
  stop(): Promise<LoadResult>;
}

/**
 * Sends `ratePerSecond` requests, answered or not, over kept-alive connections: a proxy that hangs makes requests pile up
 * instead of slowing the load down. Ends with the test at the latest.
 * @param make the n-th request, from 0.
 */
export function startLoad(
  t: { teardown(fn: () => unknown): void },
  ratePerSecond: number,
  make: (n: number) => Omit<Call, "agent">,
): Load {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 200 });
  const startMs = performance.now();
  const pending = new Set<Promise<void>>();
  const failures: string[] = [];
  let sent = 0;
  let succeeded = 0;
  const send = (request: Omit<Call, "agent">): void => {
    const { method = "GET", path = "/" } = request;
    const atMs = Math.round(performance.now() - startMs);
    const note = (what: string): void => void failures.push(`${atMs} ms: ${method} ${path}: ${what}`);
    const done = call({ ...request, agent }).then(
      ({ status, body, error }) => {
        if (status === 200) succeeded++;
        else note(`${status} ${error ?? ""} ${body.trim()}`);
      },
      (error: unknown) => note(String(error)),
    );
    pending.add(done);
    void done.finally(() => pending.delete(done));
  };
  const timer = setInterval(() => {
    const due = ((performance.now() - startMs) / 1000) * ratePerSecond;
    while (sent < due) send(make(sent++));
  }, 5);
  t.teardown(() => {
    clearInterval(timer);
    agent.destroy();
  });
  return {
    get sent() {
      return sent;
    },
    async stop() {
      clearInterval(timer);
      await Promise.all(pending);
      agent.destroy();
      return { sent, succeeded, failures };
    },
  };
}
