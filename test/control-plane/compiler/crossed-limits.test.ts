import t from "tap";
import { warningsOf } from "../../../control-plane/compiler/condition.js";
import { conditionsOf } from "../../../control-plane/compiler/conditions.js";
import { catalogOf, documentsOf, instance } from "../../support/mesh-model.js";

const route = (rules: string): string => `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{name: api}, {name: web}], rules: [${rules}]}
---
`;
const policy = (name: string, target: string, spec: string): string => `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: ${name}}
spec: {targetRefs: [${target}], ${spec}}
---
`;
const api = "{kind: Service, name: api}";
const backend = "backendRefs: [{name: api}]";

/** What each document is warned of, by its id without the namespace. */
function warnings(yaml: string): Readonly<Record<string, readonly string[]>> {
  const catalog = catalogOf({ "api.default": [instance("api-1")], "web.default": [instance("web-1")] });
  const found = conditionsOf({ trustDomain: "m", catalog, documents: documentsOf(yaml) });
  return Object.fromEntries(
    [...found].flatMap(([id, conditions]) => {
      const told = warningsOf(conditions);
      return told.length === 0 ? [] : [[id.replace("/default", ""), told]];
    }),
  );
}

t.test("the time of an attempt and that of the request by two documents: both are told", async (t) => {
  const said =
    "rule #0 of HTTPRoute/default/r: the request ends after 1s (HTTPRoute/default/r), before an attempt could be cut after 2s (TrafficPolicy/default/p)";
  const perTry = policy("p", api, "retry: {perTryTimeout: 2s}");
  t.same(warnings(route(`{${backend}, timeouts: {request: 1s}}`) + perTry), {
    "HTTPRoute/r": [said],
    "TrafficPolicy/p": [said],
  });
  t.same(warnings(route(`{${backend}, timeouts: {request: 3s}}`) + perTry), {}, "there is time");
  t.same(warnings(route(`{${backend}}`) + perTry), {}, "nothing caps the request");
  t.same(
    warnings(route(`{${backend}, timeouts: {request: 1s, backendRequest: 1s}}`) + perTry),
    {},
    "the rule has its own time of an attempt",
  );

  const ofRule = policy("q", "{kind: HTTPRoute, name: r, sectionName: a}", "timeouts: {backendRequest: 9s}");
  const both =
    "rule a of HTTPRoute/default/r: the request ends after 5s (TrafficPolicy/default/p), before an attempt could be cut after 9s (TrafficPolicy/default/q)";
  t.same(
    warnings(
      route(`{name: a, ${backend}}, {name: b, matches: [{path: {value: /b}}], ${backend}}`) +
        policy("p", `${api}, {kind: Service, name: web}`, "timeouts: {request: 5s}") +
        ofRule,
    ),
    { "HTTPRoute/r": [both], "TrafficPolicy/p": [both], "TrafficPolicy/q": [both] },
    "once, though the route is of two services",
  );
});
