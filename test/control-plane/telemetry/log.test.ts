/** What collectors read of the control plane's log. */
import t from "tap";
import { createLogger, logPolicyProblems } from "../../../control-plane/telemetry/log.js";

t.test("level and time are written as sidecars write them", async (t) => {
  const lines: string[] = [];
  const log = createLogger("info", { write: (line) => void lines.push(line) });
  log.debug("not this one");
  log.child({ part: "consul" }).warn({ reason: "gone" }, "cannot read");
  t.equal(lines.length, 1);
  const line = JSON.parse(lines[0] ?? "") as { readonly time: string };
  t.match(line, { level: "warn", msg: "cannot read", part: "consul", reason: "gone" });
  t.equal(new Date(line.time).toISOString(), line.time);
});

t.test("mistakes in the policy folder are told, and their end", async (t) => {
  const lines: string[] = [];
  const log = createLogger("info", { write: (line) => void lines.push(line) });
  const message = "api.yaml:2:1: not YAML";
  logPolicyProblems(log, [{ file: "api.yaml", message }]);
  logPolicyProblems(log, []);
  logPolicyProblems(
    log,
    Array.from({ length: 1000 }, () => ({ file: "x", message })),
  );
  t.match(JSON.parse(lines[0] ?? ""), { level: "warn", file: "api.yaml", problem: message });
  t.match(JSON.parse(lines[1] ?? ""), { level: "info" });
  t.equal(lines.length, 22, "a flood is cut");
});
