import t from "tap";
import type { SeenCall, ServiceCalls } from "../../control-plane/observation/call-table.js";
import { tryPolicies } from "../../control-plane/observation/policy-trial.js";
import { readIntentions } from "../../control-plane/catalog/intention.js";
import { catalogOf, documentsOf, instance } from "../support/mesh-model.js";

const id = (service: string): string => `spiffe://mesh.local/ns/default/svc/${service}`;
const week = 7 * 86_400_000;
const catalog = catalogOf({ "api.default": [instance("api-1")], "db.default": [instance("db-1")] });

const policy = (service: string, spec: string): string => `
apiVersion: remora.mesh/v1
kind: AuthorizationPolicy
metadata: { name: ${service} }
spec:
  targetRefs: [{ kind: Service, name: ${service} }]
  ${spec}
---`;
const onlyWeb = "rules: [{ from: [{ source: { principals: [mesh.local/ns/default/svc/web] } }] }]";

const call = (over: Partial<SeenCall>): SeenCall => ({
  ...{ caller: id("web"), method: "GET", path: "/a", port: 80, protocol: "http", verdict: "allow" },
  ...{ rule: "", count: 1, firstSeenMs: 0, lastSeenMs: week, ...over },
});
const api = (...calls: readonly SeenCall[]): ServiceCalls => ({
  ...{ service: "api", namespace: "default", sinceMs: 0, lastReportMs: week, lost: 0, calls },
});

const trial = (before: string, after: string, observed: readonly ServiceCalls[], service?: string) =>
  tryPolicies({
    model: { trustDomain: "mesh.local", catalog, documents: documentsOf(before) },
    documents: documentsOf(after),
    observed,
    isAsked: (name) => service === undefined || name.service === service,
    nowMs: week,
  });

t.test("what would change", async (t) => {
  const observed = [
    api(
      call({ count: 3 }),
      call({ caller: id("batch"), count: 2 }),
      // What was said then is of no interest: both are one kind.
      call({ caller: id("batch"), count: 5, verdict: "deny", rule: "old" }),
    ),
  ];
  t.match(await trial("", policy("api", onlyWeb), observed), {
    kinds: 2,
    calls: 10,
    breaks: true,
    doubts: [],
    changes: [
      {
        ...{ service: "api", caller: id("batch"), count: 7 },
        before: { outcome: "allow", rule: "" },
        after: { outcome: "deny", rule: "implicit-deny" },
      },
    ],
  });
  t.match(await trial(policy("api", onlyWeb), "", observed), {
    breaks: false,
    changes: [{ before: { outcome: "deny" }, after: { outcome: "allow" } }],
  });
  t.match(await trial("", policy("api", `mode: audit\n  ${onlyWeb}`), observed), {
    breaks: false,
    changes: [{ after: { outcome: "audit", rule: "implicit-deny" } }],
  });
  t.match(await trial(policy("api", onlyWeb), policy("api", onlyWeb), observed), {
    breaks: false,
    changes: [],
  });
  const byHeader = `action: DENY\n  rules: [{ when: [{ key: "request.headers[x-a]", values: [b] }] }]`;
  const uncertain = await trial("", policy("api", byHeader), observed);
  t.equal(uncertain.breaks, true, "what may be refused counts as refused");
  t.match(uncertain.changes, [{ after: { outcome: "depends", on: "request.header x-a" } }, {}]);
});

t.test("the gravest first; other services are left alone", async (t) => {
  const byHeader = `{ when: [{ key: "request.headers[x-a]", values: [b] }] }`;
  const spec = `action: DENY\n  rules: [{ to: [{ operation: { paths: [/gone] } }] }, ${byHeader}]`;
  const { changes } = await trial("", policy("api", spec), [
    api(call({ count: 9 }), call({ path: "/gone" })),
  ]);
  t.same(
    changes.map(({ after }) => after.outcome),
    ["deny", "depends"],
  );
  t.same((await trial("", policy("api", onlyWeb), [api(call({ caller: id("batch") }))], "db")).changes, []);
});

t.test("where nothing, or little, was observed it says so", async (t) => {
  const both = `${policy("api", onlyWeb)}${policy("db", onlyWeb)}`;
  const young = { ...api(call({})), sinceMs: week - 60_000 };
  t.match((await trial("", both, [young])).doubts, [
    /^api\.default: observed for 60 s only/,
    "db.default: no call was observed, so nothing can be said about it",
  ]);
  t.same((await trial(both, both, [young])).doubts, [], "what does not change raises no doubt");
});

t.test("intentions as they would be written", async (t) => {
  const observed = [api(call({ count: 3 }), call({ caller: id("batch"), count: 2 }))];
  const intentions = readIntentions([
    { SourceName: "web", DestinationName: "api", Action: "allow" },
    { SourceName: "batch", DestinationName: "api", Action: "deny" },
    { SourceName: "*", DestinationName: "db", Action: "deny" },
  ]);
  const options = {
    model: {
      ...{ trustDomain: "mesh.local", catalog, documents: [] },
      intentions: { list: intentions ?? [], otherwise: "deny" as const },
    },
    ...{ documents: [], observed, isAsked: () => true, nowMs: week },
  };
  const entry = (...Sources: readonly object[]) => ({ Kind: "service-intentions", Name: "api", Sources });
  const outcomes = async (...entries: readonly unknown[]) =>
    (await tryPolicies({ ...options, intentions: entries })).changes.map(
      ({ caller, before, after }) => `${caller} ${before.outcome} -> ${after.outcome} ${after.rule}`,
    );
  const web = { Name: "web", Action: "allow" };
  t.same(await outcomes(), []);
  t.same(await outcomes(entry(web)), [], "what no intention is about is refused all the same");
  t.same(await outcomes(entry({ Name: "*", Action: "allow" })), [
    `${id("batch")} deny -> allow intention/*/api/source`,
  ]);
  t.same(await outcomes(entry()), [`${id("web")} allow -> deny implicit-deny`], "deleted");
  t.same(await outcomes(entry({ Name: "web", Action: "deny" }, { Name: "batch", Action: "allow" })), [
    `${id("web")} allow -> deny intention/web/api/source`,
    `${id("batch")} deny -> allow intention/batch/api/source`,
  ]);
  const onlyReads = { Name: "web", Permissions: [{ Action: "allow", HTTP: { PathExact: "/b" } }] };
  t.same(await outcomes(entry(onlyReads)), [`${id("web")} allow -> deny intention/web/api/source`]);
  t.same(
    await outcomes(entry({ ...web, Peer: "other" })),
    [`${id("web")} allow -> deny implicit-deny`],
    "a peer's",
  );
  t.same(await outcomes({ ...entry(web), JWT: { Providers: [{}] } }), [
    `${id("web")} allow -> deny intention/web/api/source`,
  ]);
  for (const wrong of [
    null,
    [],
    {},
    { Kind: "service-defaults", Name: "api" },
    { ...entry(web), Sources: 1 },
  ])
    await t.rejects(outcomes(wrong), /no entry of kind service-intentions/, JSON.stringify(wrong));
  const without = { ...options.model, intentions: undefined };
  await t.rejects(tryPolicies({ ...options, model: without, intentions: [entry(web)] }), {
    message: /does not go by Consul's intentions/,
  });
});

t.test("others have their turn meanwhile, and may end it", async (t) => {
  const model = { trustDomain: "mesh.local", catalog, documents: [] };
  const documents = documentsOf(policy("api", onlyWeb));
  const observed = [api(...Array.from({ length: 100 }, (_, at) => call({ path: `/a${at}` })))];
  const options = { model, documents, observed, isAsked: () => true, nowMs: week };
  let turns = 0;
  const turn = (): Promise<void> => {
    if (++turns === 10) throw new Error("over");
    return new Promise((resolve) => setImmediate(resolve));
  };
  await t.rejects(tryPolicies({ ...options, turn }), /over/);
  t.equal(turns, 10, "and no call later");
});

t.test("without a registry there is no answer", async (t) => {
  const options = { documents: [], observed: [], isAsked: () => true, nowMs: 0 };
  await t.rejects(tryPolicies({ ...options, model: undefined }), /registry was not read yet/);
});
