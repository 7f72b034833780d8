/** Against a real gRPC server, in plaintext: the channel's TLS has its own tests. */
import { Client, credentials, Server, ServerCredentials, status } from "@grpc/grpc-js";
import t from "tap";
import { reportCalls, type TakenCalls } from "../../src/discovery/call-reporter.js";
import {
  maxCallsInReport,
  observationService,
  type CallReport,
} from "../../src/discovery/proto/observation.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { ObservedCall } from "../../src/policy/call-recorder.js";
import { systemClock } from "../../src/time/clock.js";
import { until } from "../support/until.js";

const call = (path: string, count = 1): ObservedCall => ({
  ...{ caller: "spiffe://mesh.test/ns/default/svc/web", method: "GET", path, port: 80 },
  ...{ protocol: "http", verdict: "allow", rule: "", count },
});

async function listen(
  t: { teardown(fn: () => void): void },
  answer: () => status,
): Promise<{ client: Client; reports: CallReport[] }> {
  const reports: CallReport[] = [];
  const server = new Server();
  server.addService(observationService, {
    Report: (report: { request: CallReport }, callback: (error: unknown, value?: unknown) => void) => {
      const code = answer();
      if (code !== status.OK) return callback({ code, details: "no" });
      reports.push(report.request);
      callback(null, { lost: 0 });
    },
  } as never);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  t.teardown(() => {
    client.close();
    server.forceShutdown();
  });
  return { client, reports };
}

t.test("what could not be told is told with the next, once", async (t) => {
  let code: status = status.UNAVAILABLE;
  let refusals = 0;
  const { client, reports } = await listen(t, () => {
    if (code !== status.OK) refusals++;
    return code;
  });
  const problems: string[] = [];
  const taken: TakenCalls[] = [{ calls: [call("/a")], lost: 1 }];
  const reporter = reportCalls({
    client: new LatestValue<Client | undefined>(client),
    everyMs: 10,
    take: async () => taken.shift() ?? { calls: [], lost: 0 },
    clock: systemClock,
    onProblem: (text) => problems.push(text),
  });
  await until("refusals", async () => refusals >= 3);
  taken.push({ calls: [call("/a", 2), call("/b")], lost: 2 });
  // A report that was under way knows nothing of these yet; the one after it does.
  const known = refusals + 2;
  await until("a refusal of all of them", async () => refusals >= known);
  code = status.OK;
  await until("a report with calls", async () => reports.some(({ calls }) => calls.length === 2));
  await until("a report without calls", async () => reports.some(({ calls }) => calls.length === 0));
  taken.push({ calls: [call("/last")], lost: 0 });
  await reporter.close();
  const all = reports.flatMap(({ calls }) => calls);
  t.same(
    all.map(({ path, count }) => `${path} ${count}`),
    ["/a 3", "/b 1", "/last 1"],
  );
  t.equal(
    reports.reduce((sum, { lost }) => sum + lost, 0),
    3,
  );
  t.same(problems, ["no"], "one line for the whole outage");
});

t.test("many calls go in several reports, and what is refused is not repeated", async (t) => {
  const codes = [status.OK, status.INVALID_ARGUMENT];
  const { client, reports } = await listen(t, () => codes.shift() ?? status.OK);
  const taken: TakenCalls[] = [
    { calls: Array.from({ length: 2 * maxCallsInReport + 1 }, (_, n) => call(`/${n}x`)), lost: 0 },
  ];
  const reporter = reportCalls({
    client: new LatestValue<Client | undefined>(client),
    everyMs: 10,
    take: async () => taken.shift() ?? { calls: [], lost: 0 },
    clock: systemClock,
    onProblem: () => undefined,
  });
  await until("the last report", async () => reports.some(({ calls }) => calls.length === 1));
  await reporter.close();
  t.same(
    reports.map(({ calls }) => calls.length).filter((length) => length > 0),
    [maxCallsInReport, 1],
  );
});
