import type { Registry } from "prom-client";
import { documentId, parseKind, type Kind } from "../../src/config/documents/document.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { parseDuration } from "../../src/time/duration.js";
import type { JoinTokens } from "../ca/join-tokens.js";
import type { CatalogState } from "../catalog/catalog.js";
import { warningsOf, type Condition } from "../compiler/condition.js";
import { notFound, type PolicyStore } from "../policy-store/directory.js";
import type { RevokeParts } from "../ca/revoke.js";
import { idOf, versionOf, type StoredDocument } from "../policy-store/stored-document.js";
import type { AdminReply, AdminRequest, AdminRoute } from "./admin-server.js";
import { adminTokenRoutes } from "./admin-token-routes.js";
import type { AdminTokens } from "./admin-tokens.js";
import type { AuditLog } from "./audit-log.js";
import type { Rotation } from "../ca/rotate.js";
import { caRoutes } from "./ca-routes.js";
import { certificateRoutes } from "./certificate-routes.js";
import { readObject } from "./read-object.js";
import type { ServedCertificatesView } from "./served-certificates.js";
import { viewDocument, viewServices, type SidecarView, type StatusView } from "./views.js";

/** What the admin API shows and changes. */
export interface AdminSubject {
  /** What is still missing before sidecars can be served; undefined when ready. */
  readonly notReady: () => string | undefined;
  readonly status: () => StatusView;
  readonly catalog: () => CatalogState | undefined;
  readonly sidecars: () => readonly SidecarView[];
  readonly store: PolicyStore;
  /** By document id; of `documents`, or of those in the store. */
  readonly conditions: (documents?: readonly StoredDocument[]) => ReadonlyMap<string, readonly Condition[]>;
  /** What the stored documents name outside of the registry was looked up; soon, also when it cannot be reached. */
  readonly settled: () => Promise<void>;
  /** undefined: the CA is another's, and so is joining. */
  readonly tokens: JoinTokens | undefined;
  readonly certificates: RevokeParts | undefined;
  readonly rotation: Rotation | undefined;
  readonly adminTokens: AdminTokens;
  readonly audit: AuditLog;
  readonly bundlePem: () => string;
  readonly servedCertificates: () => Promise<ServedCertificatesView>;
  /** The same with the keys of JWT-SVIDs, in the form that other meshes read. */
  readonly spiffeBundle: () => Promise<string>;
  readonly metrics: Registry;
}

/** The admin API's paths. Requests and answers are JSON but where it says YAML. */
export function adminRoutes(subject: AdminSubject): readonly AdminRoute[] {
  const { store } = subject;
  const list = (request: AdminRequest): AdminReply => {
    const { namespace, name } = request.parameters;
    const kind = request.parameters["kind"] === undefined ? undefined : parseKind(request.parameters["kind"]);
    const conditions = subject.conditions();
    const stored = store.documents
      .get()
      .filter(
        ({ document }) =>
          (kind === undefined || document.kind === kind) &&
          (namespace === undefined || document.metadata.namespace === namespace) &&
          (name === undefined || document.metadata.name === name),
      );
    if (kind !== undefined && name !== undefined && stored.length === 0)
      return missing(kind, namespace ?? "", name);
    return ok({ documents: stored.map((one) => viewDocument(one, conditions)) });
  };
  return [
    {
      method: "GET",
      path: "/ready",
      isOpen: true,
      handle: () => {
        const reason = subject.notReady();
        return reason === undefined
          ? { status: 200, body: "ready\n", contentType: "text/plain" }
          : { status: 503, body: `not ready: ${reason}\n`, contentType: "text/plain" };
      },
    },
    {
      method: "GET",
      path: "/metrics",
      isOpen: true,
      handle: async () => ({
        status: 200,
        body: await subject.metrics.metrics(),
        contentType: subject.metrics.contentType,
      }),
    },
    { method: "GET", path: "/v1/status", role: "view", handle: () => ok(subject.status()) },
    { method: "GET", path: "/v1/sidecars", role: "view", handle: () => ok({ sidecars: subject.sidecars() }) },
    {
      method: "GET",
      path: "/v1/services",
      role: "view",
      handle: () => ok({ services: viewServices(subject.catalog()) }),
    },
    {
      method: "GET",
      path: "/v1/served-certificates",
      role: "view",
      handle: async () => ok(await subject.servedCertificates()),
    },
    {
      method: "GET",
      path: "/v1/bundle",
      role: "view",
      handle: async ({ query }) =>
        query.get("format") === "spiffe"
          ? { status: 200, body: await subject.spiffeBundle(), contentType: "application/json" }
          : { status: 200, body: subject.bundlePem(), contentType: "application/x-pem-file" },
    },
    { method: "GET", path: "/v1/documents/:kind?/:namespace?/:name?", role: "view", handle: list },
    {
      // Body: YAML, one or several documents; all are applied, or none.
      method: "POST",
      path: "/v1/documents",
      role: "apply",
      handle: async ({ body, fileName, query }) => {
        const dryRun = isOn(query.get("dryRun"));
        const preview = dryRun ? await store.preview(body, fileName) : undefined;
        const results = preview?.results ?? (await store.apply(body, fileName));
        const applied = results.map((result) => ({ ...result, version: storedVersion(store, result) }));
        // So that a name that is wrong is told to whoever wrote it.
        if (preview === undefined) await subject.settled();
        const conditions = subject.conditions(preview?.documents);
        const told = results.map((result) => {
          const id = documentId(result.kind, result.namespace, result.name);
          return { ...result, warnings: warningsOf(conditions.get(id) ?? []) };
        });
        return { ...ok({ dryRun, results: told }), audit: dryRun ? { dryRun } : { applied } };
      },
    },
    {
      method: "DELETE",
      path: "/v1/documents/:kind/:namespace/:name",
      role: "apply",
      handle: async ({ parameters: { kind = "", namespace = "", name = "" } }) => {
        const known = parseKind(kind);
        const deleted = { kind: known, namespace, name };
        const version = storedVersion(store, deleted);
        return (await store.delete(known, namespace, name))
          ? { ...ok({ deleted }), audit: { deleted: { ...deleted, version } } }
          : missing(known, namespace, name);
      },
    },
    {
      method: "POST",
      path: "/v1/tokens",
      role: "admin",
      handle: (request) => createToken(subject.tokens, request),
    },
    ...certificateRoutes(subject.certificates),
    ...adminTokenRoutes(subject.adminTokens, subject.audit),
    ...caRoutes(subject.rotation),
  ];
}

/** Body: {service, namespace?, ttl?: "10m", uses?: 1}. The answer is the only time that the token is shown. */
async function createToken(tokens: JoinTokens | undefined, { body }: AdminRequest): Promise<AdminReply> {
  if (tokens === undefined)
    throw new ConfigError(
      "this mesh's CA is Consul's, which knows no join tokens: start sidecars with --ca consul",
    );
  const wish = readObject(body);
  const { service, namespace = "default", ttl, uses } = wish;
  if (typeof service !== "string") throw new ConfigError("service is missing: say whom the token is for");
  if (typeof namespace !== "string") throw new ConfigError("namespace must be text");
  if (uses !== undefined && typeof uses !== "number") throw new ConfigError("uses must be a number");
  const ttlMs = ttl === undefined ? undefined : parseDuration(String(ttl));
  if (ttl !== undefined && ttlMs === undefined)
    throw new ConfigError(`ttl ${JSON.stringify(ttl)} is not a duration, for example 10m`);
  const created = await tokens.createToken({
    service,
    namespace,
    ...(ttlMs === undefined ? {} : { ttlMs }),
    ...(uses === undefined ? {} : { uses }),
  });
  return {
    status: 201,
    body: { token: created.token, expiresAtMs: created.expiresAtMs, service, namespace },
    audit: { joinToken: { service, namespace, uses: uses ?? 1, expiresAtMs: created.expiresAtMs } },
  };
}

/** Of what is stored; null: nothing is. */
function storedVersion(
  store: PolicyStore,
  { kind, namespace, name }: { readonly kind: Kind; readonly namespace: string; readonly name: string },
): string | null {
  const id = documentId(kind, namespace, name);
  const stored = store.documents.get().find(({ document }) => idOf(document) === id);
  return stored === undefined ? null : versionOf(stored);
}

function ok(body: unknown): AdminReply {
  return { status: 200, body };
}

function missing(kind: Kind, namespace: string, name: string): AdminReply {
  return {
    status: 404,
    body: { error: notFound(kind, namespace, name).message, fix: "list them with remora get" },
  };
}

function isOn(value: string | null): boolean {
  return value === "" || value === "true" || value === "1";
}
