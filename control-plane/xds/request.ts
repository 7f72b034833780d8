import { Fields } from "../../src/discovery/fields.js";
import { decodeNode } from "../../src/discovery/node.js";
import type { MeshNode } from "../compiler/node.js";
import type { SessionRequest } from "./session.js";

/** No sidecar needs more names of one type; the list is kept for the life of the stream. */
const maxNames = 10_000;
const maxReasonLength = 2000;
const maxVersionLength = 100;

/** Checks a DiscoveryRequest. Throws ConfigError. */
export function readRequest(request: unknown): SessionRequest {
  const fields = new Fields(request, "request");
  const names = fields.strings("resourceNames");
  if (names.length > maxNames) throw fields.error("resourceNames", `more than ${maxNames}`);
  const error = fields.optionalMessage("errorDetail");
  return {
    typeUrl: fields.requiredString("typeUrl"),
    nonce: fields.string("responseNonce"),
    version: fields.string("versionInfo").slice(0, maxVersionLength),
    names,
    refusal:
      error === undefined
        ? undefined
        : error.string("message").slice(0, maxReasonLength) || "no reason given",
  };
}

/** The node of the first request of a stream. Throws ConfigError. */
export function readNode(request: unknown): MeshNode {
  return decodeNode(new Fields(request, "request").message("node"));
}
