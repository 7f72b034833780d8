import fc from "fast-check";
import t from "tap";
import { appEnvironment } from "../../src/supervise/app-environment.js";
import {
  exitCodeOf,
  transition,
  type RunAction,
  type RunEvent,
  type RunState,
} from "../../src/supervise/run-state.js";

const exited = (code: number | null, signal: NodeJS.Signals | null = null): RunEvent => ({
  kind: "app-exited",
  exit: { code, signal },
});
const event = (kind: Exclude<RunEvent["kind"], "app-exited" | "spawn-failed" | "stop">): RunEvent => ({
  kind,
});
const term: RunEvent = { kind: "stop", signal: "SIGTERM" };
const interrupt: RunEvent = { kind: "stop", signal: "SIGINT" };

t.test("each state answers each event that matters", async (t) => {
  const closing = (exitCode: number): RunState => ({ state: "closing", exitCode });
  const stopping = (exitCode?: number): RunState => ({ state: "stopping", exitCode });
  const table: readonly [RunState, RunEvent, RunState, readonly RunAction[]][] = [
    [{ state: "starting" }, event("ready"), { state: "up" }, ["start-app", "announce"]],
    [{ state: "starting" }, event("start-failed"), closing(1), ["close"]],
    [{ state: "starting" }, term, closing(143), ["close"]],
    [{ state: "starting" }, interrupt, closing(130), ["close"]],
    [{ state: "starting" }, event("crashed"), closing(1), ["close"]],
    [{ state: "up" }, exited(0), closing(0), ["close"]],
    [{ state: "up" }, exited(7), closing(7), ["close"]],
    [{ state: "up" }, exited(null, "SIGKILL"), closing(137), ["close"]],
    [{ state: "up" }, { kind: "spawn-failed", code: "ENOENT" }, closing(127), ["close"]],
    [{ state: "up" }, { kind: "spawn-failed", code: "EACCES" }, closing(126), ["close"]],
    [{ state: "up" }, term, { state: "withdrawing", exitCode: 0 }, ["withdraw"]],
    [{ state: "up" }, event("crashed"), stopping(1), ["stop-app"]],
    [
      { state: "withdrawing", exitCode: 0 },
      event("withdrawn"),
      { state: "draining", exitCode: 0 },
      ["drain-inbound"],
    ],
    [{ state: "withdrawing", exitCode: 0 }, exited(3), closing(3), ["close"]],
    [{ state: "withdrawing", exitCode: 0 }, interrupt, closing(130), ["kill-app", "close"]],
    [{ state: "draining", exitCode: 0 }, event("drained"), stopping(), ["stop-app"]],
    [{ state: "draining", exitCode: 0 }, exited(null, "SIGTERM"), closing(143), ["close"]],
    [{ state: "draining", exitCode: 0 }, event("crashed"), stopping(1), ["stop-app"]],
    [stopping(), exited(5), closing(5), ["close"]],
    [stopping(1), exited(0), closing(1), ["close"]],
    [stopping(), event("stop-timeout"), stopping(), ["kill-app"]],
    [stopping(), term, closing(143), ["kill-app", "close"]],
    [stopping(), event("crashed"), stopping(1), []],
    [closing(4), event("closed"), { state: "ended", exitCode: 4 }, []],
    [closing(4), exited(9), closing(4), []],
    [closing(4), interrupt, { state: "ended", exitCode: 130 }, []],
    [closing(4), event("crashed"), { state: "ended", exitCode: 1 }, []],
    [{ state: "ended", exitCode: 4 }, term, { state: "ended", exitCode: 4 }, []],
  ];
  for (const [state, given, next, actions] of table)
    t.same(
      transition(state, given, true),
      { next, actions },
      `${JSON.stringify(state)} + ${JSON.stringify(given)}`,
    );
});

t.test("without an application of ours nothing is started or stopped but the sidecar", async (t) => {
  t.same(transition({ state: "starting" }, event("ready"), false).actions, ["announce"]);
  t.same(transition({ state: "draining", exitCode: 0 }, event("drained"), false), {
    next: { state: "closing", exitCode: 0 },
    actions: ["close"],
  });
  t.same(transition({ state: "up" }, event("crashed"), false).actions, ["close"]);
  t.same(transition({ state: "withdrawing", exitCode: 0 }, term, false).actions, ["close"]);
});

t.test("whatever happens, the order of actions holds and the end is reached", async (t) => {
  const anyEvent: fc.Arbitrary<RunEvent> = fc.oneof(
    fc.constantFrom<RunEvent>(
      event("ready"),
      event("start-failed"),
      event("withdrawn"),
      event("drained"),
      event("stop-timeout"),
      event("crashed"),
      event("closed"),
      term,
      interrupt,
      { kind: "spawn-failed", code: "ENOENT" },
    ),
    fc.integer({ min: 0, max: 255 }).map((code) => exited(code)),
  );
  const order: readonly RunAction[] = ["start-app", "withdraw", "drain-inbound", "stop-app", "close"];
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 30 }), fc.boolean(), (events, hasApp) => {
      let state: RunState = { state: "starting" };
      const done: RunAction[] = [];
      // What remains is what the sidecar and the application themselves will report in the end.
      const rest = [event("withdrawn"), event("drained"), term, event("closed")];
      for (const each of [...events, ...rest, interrupt, event("closed")]) {
        const { next, actions } = transition(state, each, hasApp);
        if (state.state === "ended" && (next !== state || actions.length > 0)) return false;
        state = next;
        done.push(...actions);
      }
      const ranks = done.filter((action) => order.includes(action)).map((action) => order.indexOf(action));
      const isOrdered = ranks.every((rank, index) => index === 0 || rank > (ranks[index - 1] ?? -1));
      const isOurs = hasApp || !done.some((action) => ["start-app", "stop-app", "kill-app"].includes(action));
      return state.state === "ended" && isOrdered && isOurs;
    }),
  );
  t.pass("held");
});

t.test("exit codes follow the shell", async (t) => {
  const table = [
    [{ code: 0, signal: null }, 0],
    [{ code: 255, signal: null }, 255],
    [{ code: null, signal: "SIGTERM" }, 143],
    [{ code: null, signal: "SIGINT" }, 130],
    [{ code: null, signal: "SIGHUP" }, 129],
    [{ code: null, signal: "SIGSEGV" }, 139],
  ] as const;
  for (const [exit, code] of table) t.equal(exitCodeOf(exit), code, JSON.stringify(exit));
});

t.test("the application's environment tells of the mesh", async (t) => {
  const mesh = {
    identity: "spiffe://m/ns/default/svc/web",
    outbound: 15_001,
    upstreams: new Map([
      ["api", 9001],
      ["user-profiles.back", 9002],
      ["cache", 6379],
    ]),
    tcpUpstreams: new Set(["cache"]),
  };
  const environment = appEnvironment({ PATH: "/bin", PORT: "80", HTTP_PROXY: "http://old:1" }, mesh);
  t.same(environment, {
    PATH: "/bin",
    PORT: "80",
    API_URL: "http://127.0.0.1:9001",
    USER_PROFILES_BACK_URL: "http://127.0.0.1:9002",
    CACHE_URL: "tcp://127.0.0.1:6379",
    HTTP_PROXY: "http://127.0.0.1:15001",
    http_proxy: "http://127.0.0.1:15001",
    NO_PROXY: "localhost,127.0.0.1,::1",
    no_proxy: "localhost,127.0.0.1,::1",
    REMORA_IDENTITY: mesh.identity,
  });
  t.equal(appEnvironment({ no_proxy: "internal" }, mesh)["NO_PROXY"], "internal", "what is set stays");
  t.same(
    appEnvironment({}, { ...mesh, outbound: undefined, upstreams: new Map() }),
    { REMORA_IDENTITY: mesh.identity },
    "no host-routed port: no proxy",
  );
});
