import { parseKind } from "../../src/config/documents/document.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { Clock } from "../../src/time/clock.js";
import type { MeshModel } from "../compiler/mesh-model.js";
import type { CallTable, ServiceName } from "../observation/call-table.js";
import { doubtsOf } from "../observation/observation-doubts.js";
import type { Turn } from "../observation/compare-policies.js";
import { tryPolicies, type PolicyTrial } from "../observation/policy-trial.js";
import { suggestPolicy, type Suggestion } from "../observation/suggest-policy.js";
import { suggestionYaml } from "../observation/suggestion-yaml.js";
import type { PolicyStore } from "../policy-store/directory.js";
import type { DocumentName } from "../policy-store/stored-document.js";
import type { AdminReply, AdminRequest, AdminRoute } from "./admin-server.js";
import { viewCalls } from "./call-views.js";
import { readObject } from "./read-object.js";

/** What the routes about observed calls go by. */
export interface PolicySubject {
  readonly observed: CallTable;
  readonly trustDomain: string;
  readonly store: PolicyStore;
  /** undefined: the registry was not read yet. */
  readonly model: () => MeshModel | undefined;
  readonly clock: Clock;
}

/** The command line waits for 30 s. */
const maxTrialMs = 20_000;
/** Sidecars and other requests wait so long at a time. */
const sliceMs = 20;

/** Answer of GET /v1/policy/suggestion. */
export interface SuggestionView extends Pick<Suggestion, "service" | "namespace" | "document" | "leftOut"> {
  readonly doubts: readonly string[];
  readonly yaml: string;
}

/** Answer of POST /v1/policy/test. */
export interface PolicyTestView extends PolicyTrial {
  readonly trustDomain: string;
}

/** Body of POST /v1/policy/test: what would be changed. */
export interface PolicyTestRequest {
  /** YAML, as of POST /v1/documents. */
  readonly documents: string;
  readonly deletions: readonly { readonly kind: string; readonly namespace: string; readonly name: string }[];
  /** Entries of Consul of kind service-intentions, as `consul config read` prints them. */
  readonly intentions: readonly unknown[];
}

/** What was called, and what policies would say to it. */
export function policyRoutes(subject: PolicySubject): readonly AdminRoute[] {
  const { observed, trustDomain } = subject;
  return [
    {
      method: "GET",
      path: "/v1/calls/:namespace?/:service?",
      role: "view",
      handle: ({ parameters: { namespace, service } }) =>
        ok(viewCalls(observed, trustDomain, { namespace, service })),
    },
    {
      // ?mode=audit|enforce: of the suggested document.
      method: "GET",
      role: "view",
      path: "/v1/policy/suggestion/:namespace/:service",
      handle: (request) => suggest(subject, request),
    },
    {
      // Nothing is stored.
      method: "POST",
      role: "view",
      changesNothing: true,
      path: "/v1/policy/test/:namespace?/:service?",
      handle: (request) => test(subject, request),
    },
  ];
}

function suggest({ observed, trustDomain, clock }: PolicySubject, request: AdminRequest): AdminReply {
  const { namespace = "", service = "" } = request.parameters;
  const mode = request.query.get("mode") ?? "audit";
  if (mode !== "audit" && mode !== "enforce")
    throw new ConfigError(`mode ${JSON.stringify(mode)} is neither audit nor enforce`);
  const seen = observed.of({ service, namespace });
  if (seen === undefined)
    return {
      status: 404,
      body: {
        error: `no sidecar of ${service}.${namespace} has reported calls`,
        fix: "see the services that have with remora policy log; sidecars report with --observe-calls",
      },
    };
  const nowMs = clock.wallMs();
  const suggestion = suggestPolicy(seen, mode);
  const { document, leftOut } = suggestion;
  return ok({
    ...{ service, namespace, document, leftOut },
    doubts: doubtsOf(seen, nowMs),
    yaml: suggestionYaml(seen, suggestion, { trustDomain, nowMs }),
  } satisfies SuggestionView);
}

async function test(subject: PolicySubject, request: AdminRequest): Promise<AdminReply> {
  const { observed, trustDomain, store, model, clock } = subject;
  const { body, fileName, parameters } = request;
  const { documents: text, deletions, intentions } = readTest(body);
  const { documents } = await store.preview(text, fileName, deletions);
  const isAsked = ({ service, namespace }: ServiceName): boolean =>
    (parameters["namespace"] ?? namespace) === namespace && (parameters["service"] ?? service) === service;
  const trial = await tryPolicies({
    ...{ model: model(), documents, intentions, isAsked },
    observed: observed.services(),
    nowMs: clock.wallMs(),
    turn: turnsOf(clock),
  });
  return ok({ ...trial, trustDomain } satisfies PolicyTestView);
}

/** Turns for one trial. */
function turnsOf(clock: Clock): Turn {
  const endMs = clock.monotonicMs() + maxTrialMs;
  let sliceEndMs = clock.monotonicMs() + sliceMs;
  return () => {
    const nowMs = clock.monotonicMs();
    if (nowMs < sliceEndMs) return undefined;
    if (nowMs > endMs)
      throw new ConfigError(
        "there are too many observed calls, or rules, to judge at once: ask for one service (--service)",
      );
    return new Promise((resolve) => {
      setImmediate(() => {
        sliceEndMs = clock.monotonicMs() + sliceMs;
        resolve();
      });
    });
  };
}

function readTest(body: string): PolicyTestRequest & { readonly deletions: readonly DocumentName[] } {
  const { documents = "", deletions = [], intentions = [] } = readObject(body);
  if (typeof documents !== "string") throw new ConfigError("documents must be text");
  if (!Array.isArray(deletions) || !Array.isArray(intentions))
    throw new ConfigError("deletions and intentions must be lists");
  return { documents, deletions: deletions.map(readName), intentions };
}

function readName(value: unknown): DocumentName {
  const { kind, namespace = "default", name } = Object(value) as Readonly<Record<string, unknown>>;
  if (typeof kind !== "string" || typeof namespace !== "string" || typeof name !== "string")
    throw new ConfigError("a deletion needs kind, namespace and name");
  return { kind: parseKind(kind), namespace, name };
}

function ok(body: unknown): AdminReply {
  return { status: 200, body };
}
