import { parseByteSize } from "../../src/config/byte-size.js";
import { replyCacheDefaults, defaultFallbackCauses } from "../../src/config/cluster-defaults.js";
import type { FallbackSpec } from "../../src/config/documents/fallback.js";
import {
  type FallbackAction,
  fallbackCauses,
  type FallbackConfig,
} from "../../src/config/fallback-config.js";
import { grpcFailureNumber } from "../../src/config/grpc-status-names.js";
import { type MeshIndex, takesRequests } from "./mesh-index.js";
import { milliseconds } from "./milliseconds.js";
import { nearestSection, type Policies } from "./policies-for.js";
import { serviceKey } from "./service-name.js";

/** The fallback of a route: that of its nearest policy as a whole. undefined when none has one. */
export function compileFallback(index: MeshIndex, policies: Policies): FallbackConfig | undefined {
  const found = nearestSection(policies, "fallback");
  if (found === undefined) return undefined;
  const { spec, source } = found;
  const on = spec.on ?? defaultFallbackCauses;
  return {
    on: fallbackCauses.filter((cause) => on.includes(cause)),
    action: actionOf(index, spec, namespaceOf(source)),
    source,
  };
}

/** Namespace of a document by its id, `TrafficPolicy/<namespace>/<name>`. */
function namespaceOf(id: string): string {
  return id.split("/")[1] ?? "default";
}

function actionOf(index: MeshIndex, spec: FallbackSpec, namespace: string): FallbackAction {
  if (spec.service !== undefined) {
    const key = serviceKey(spec.service.name, spec.service.namespace ?? namespace);
    const isThere = index.services.has(key) && takesRequests(index, key);
    return { type: "service", cluster: isThere ? key : "" };
  }
  if (spec.cached !== undefined) {
    const { maxAge, maxEntries, maxBytes } = spec.cached;
    return {
      type: "cached",
      cached: {
        maxAgeMs: milliseconds(maxAge, replyCacheDefaults.maxAgeMs),
        maxEntries: maxEntries ?? replyCacheDefaults.maxEntries,
        maxBytes: maxBytes === undefined ? replyCacheDefaults.maxBytes : parseByteSize(maxBytes),
      },
    };
  }
  const { status, headers, body, grpcStatus, grpcMessage } = spec.reply ?? {};
  return {
    type: "reply",
    reply: {
      ...(status !== undefined && {
        http: {
          status,
          headers: (headers ?? []).map(({ name, value }) => [name, value] as const),
          body: body ?? "",
        },
      }),
      ...(grpcStatus !== undefined && {
        grpc: { status: grpcFailureNumber(grpcStatus), message: grpcMessage ?? "" },
      }),
    },
  };
}
