import fc from "fast-check";
import t from "tap";
import { CallRecorder, recordLimits, type ObservedCall } from "../../src/policy/call-recorder.js";
import { other } from "../../src/traffic/path-shape.js";

const web = "spiffe://mesh.test/ns/default/svc/web";
const sum = (calls: readonly ObservedCall[]): number => calls.reduce((all, { count }) => all + count, 0);

t.test("calls that differ only in what names one thing are counted together", async (t) => {
  const recorder = new CallRecorder(8080);
  recorder.record(web, "GET", "/users/1?token=secret", "http", "allow", "");
  recorder.record(web, "GET", "/users/2", "http", "allow", "");
  recorder.record(web, "POST", "/users/2", "http", "deny", "implicit-deny");
  recorder.record("", "BREW", "/users/2", "http", "allow", "");
  recorder.record(web, "", "", "tcp", "audit", "default/db/0");
  const common = { port: 8080, protocol: "http", verdict: "allow", rule: "" };
  t.same(recorder.take(), [
    { ...common, caller: web, method: "GET", path: "/users/*", count: 2 },
    {
      ...common,
      caller: web,
      method: "POST",
      path: "/users/*",
      verdict: "deny",
      rule: "implicit-deny",
      count: 1,
    },
    {
      ...common,
      caller: web,
      method: "",
      path: "",
      protocol: "tcp",
      verdict: "audit",
      rule: "default/db/0",
      count: 1,
    },
    { ...common, caller: "", method: other, path: "/users/*", count: 1 },
  ]);
  t.same(recorder.take(), [], "it begins anew");
});

t.test("what could not be told is told with the next", async (t) => {
  const recorder = new CallRecorder(1);
  recorder.record(web, "GET", "/a", "http", "allow", "");
  const taken = recorder.take();
  recorder.record(web, "GET", "/a", "http", "allow", "");
  recorder.putBack(taken, 3);
  t.equal(recorder.lost, 3);
  t.equal(sum(recorder.take()), 2);
  t.equal(recorder.lost, 0);
});

t.test("whatever comes, the table has a bound, and every call is counted or lost", async () => {
  const word = fc.stringMatching(/^[a-z]{1,3}$/);
  fc.assert(
    fc.property(fc.array(fc.tuple(word, word, word), { minLength: 3000, maxLength: 6000 }), (calls) => {
      const recorder = new CallRecorder(1);
      for (const [caller, method, path] of calls)
        recorder.record(caller, method, `/${path}`, "http", "allow", `p/${method}`);
      const { lost } = recorder;
      const taken = recorder.take();
      return (
        taken.length <= recordLimits.records &&
        new Set(taken.map(({ path }) => path)).size <= recordLimits.shapes + 1 &&
        new Set(taken.map(({ caller }) => caller)).size <= recordLimits.callers + 1 &&
        sum(taken) + lost === calls.length
      );
    }),
    { numRuns: 10 },
  );
});
