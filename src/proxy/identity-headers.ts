import { ProxyError } from "../errors/proxy-error.js";
import { setPriority } from "../policy/priority.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Layer } from "../stack/service.js";
import { nameIs, type Headers } from "../traffic/headers.js";
import { attemptField, parseAttempt, parseTimeLeftMs, timeLeftField } from "../traffic/hop-fields.js";
import { priorityHeader, priorityOf } from "../traffic/priority.js";
import { newRequestId } from "./request-id.js";

/**
 * Fields that only the mesh may write. What a client sends under these names is taken off, their underscore twins
 * included (servers behind CGI-like gateways read `X_Remora_Caller` as the same field).
 */
const forgeable: ReadonlySet<string> = new Set([
  "x-forwarded-client-cert",
  "x-remora-caller",
  "x-remora-denied-by",
  "x-remora-error",
  "x-remora-fallback",
]);
const requestIdName = "x-request-id";
const hopName = "x-remora-hop";

/**
 * Inbound: tells the application who calls, in Envoy's form (x-forwarded-client-cert, SANITIZE_SET) and plainly, and gives
 * a request that has none an id. What it says of its deadline and attempt counts when it comes from a proven caller.
 * @param self our own SPIFFE id, for the By element.
 */
export function inboundHeaders(self: string): Layer {
  const clientCerts = new ClientCerts(self);
  return (inner) => ({
    call(request, reply) {
      const headers = request.head.headers;
      request.id = sweep(request, true, request.peerId !== undefined) || addRequestId(headers);
      if (request.peerId !== undefined) {
        if (request.claimedPriority !== "") setPriority(request, priorityOf(request.claimedPriority));
        headers.push("x-forwarded-client-cert", clientCerts.of(request.peerId, request.peerHash));
        headers.push("x-remora-caller", request.peerId);
      }
      return inner.call(request, reply);
    },
  });
}

/** Elements of Envoy's x-forwarded-client-cert. The last one is kept: most requests of a moment have the same caller. */
class ClientCerts {
  readonly #self: string;
  #peerId = "";
  #hash = "";
  #text = "";

  constructor(self: string) {
    this.#self = self;
  }

  /** No SPIFFE id has a character that would have to be quoted. */
  of(peerId: string, hash: string): string {
    if (peerId === this.#peerId && hash === this.#hash) return this.#text;
    this.#peerId = peerId;
    this.#hash = hash;
    const hashed = hash === "" ? "" : `Hash=${hash};`;
    return (this.#text = `By=${this.#self};${hashed}URI=${peerId}`);
  }
}

/**
 * Outbound: takes over what the application forwards of deadline and attempt, with which it can only bind itself, gives every
 * request an id, and refuses one that this very sidecar has already sent out: an endpoint that
 * points back at an outbound listener would go round for ever.
 */
export function outboundHeaders(node: string): Layer {
  return (inner) => ({
    call(request, reply) {
      const headers = request.head.headers;
      if (hasHop(headers, node)) {
        reply.end(
          new ProxyError("loop", `${request.head.authority} leads back to this sidecar's outbound listener`),
        );
        return endedCall;
      }
      request.id = sweep(request, false, true) || addRequestId(headers);
      headers.push(hopName, node);
      return inner.call(request, reply);
    },
  });
}

function hasHop(headers: readonly string[], node: string): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i + 1] === node && (headers[i] as string).toLowerCase() === hopName) return true;
  }
  return false;
}

function addRequestId(headers: Headers): string {
  const id = newRequestId();
  headers.push(requestIdName, id);
  return id;
}

/**
 * Takes the forgeable fields off in place, the hop marks too where asked, and returns the request's id or "". An id is the
 * caller's to choose: it only names the request in logs, and the first one counts. The class that was claimed is noted.
 * Deadline and attempt are taken off, too; they are put on again for each attempt; `isTrusted`: and noted.
 */
function sweep(request: RequestContext, takeHops: boolean, isTrusted: boolean): string {
  const { headers } = request.head;
  let id = "";
  let kept = 0;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    const first = name.charCodeAt(0);
    if (first === 0x78 || first === 0x58) {
      const kind = kindOf(name);
      if (kind === "forgeable" || (takeHops && kind === "hop")) continue;
      if (kind === "priority") {
        if (request.claimedPriority === "") request.claimedPriority = value;
        continue;
      }
      if (kind === "told") {
        if (isTrusted) note(request, name, value);
        continue;
      }
      // One id: an empty one, a second one or a twin would make logs and application disagree.
      if (kind === "id twin") continue;
      if (kind === "id") {
        if (id !== "" || value === "") continue;
        id = value;
      }
    }
    if (kept !== i) {
      headers[kept] = name;
      headers[kept + 1] = value;
    }
    kept += 2;
  }
  if (kept < headers.length) headers.length = kept;
  return id;
}

/** Of several the strictest counts: each only takes something from the request that bears it. */
function note(request: RequestContext, name: string, value: string): void {
  if (nameIs(name, attemptField)) request.attempt = Math.max(request.attempt, parseAttempt(value));
  else if (nameIs(name, timeLeftField))
    request.callerTimeoutMs = Math.min(request.callerTimeoutMs, parseTimeLeftMs(value));
}

/** told: deadline and attempt, their twins included. */
type NameKind = "forgeable" | "told" | "hop" | "priority" | "id" | "id twin" | "other";

/** Names seen lately, so that each is folded once; an attacker's ever new ones only make it begin anew. */
const kinds = new Map<string, NameKind>();
const maxKinds = 1024;

function kindOf(name: string): NameKind {
  const known = kinds.get(name);
  if (known !== undefined) return known;
  const lower = name.toLowerCase().replaceAll("_", "-");
  let kind: NameKind = "other";
  if (forgeable.has(lower)) kind = "forgeable";
  else if (lower === attemptField || lower === timeLeftField) kind = "told";
  else if (lower === hopName) kind = "hop";
  else if (lower === priorityHeader) kind = name.includes("_") ? "forgeable" : "priority";
  else if (lower === requestIdName) kind = name.includes("_") ? "id twin" : "id";
  if (kinds.size >= maxKinds) kinds.clear();
  kinds.set(name, kind);
  return kind;
}
