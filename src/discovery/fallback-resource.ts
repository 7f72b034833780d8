import { type FallbackAction, fallbackCauses, type FallbackConfig } from "../config/fallback-config.js";
import { duration, type Fields } from "./fields.js";

const maxInteger = 2 ** 32 - 1;

/** A fallback as the message Fallback of remora.proto. */
export function encodeFallback({ source, on, action }: FallbackConfig): object {
  return { source, on, ...encodeAction(action) };
}

/** Throws ConfigError. */
export function decodeFallback(fields: Fields): FallbackConfig {
  const words = fields.strings("on");
  const unknown = words.find((word) => !(fallbackCauses as readonly string[]).includes(word));
  if (unknown !== undefined) throw fields.error("on", `${unknown} is not known`);
  return {
    on: fallbackCauses.filter((cause) => words.includes(cause)),
    action: decodeAction(fields),
    source: fields.string("source"),
  };
}

function encodeAction(action: FallbackAction): object {
  switch (action.type) {
    case "reply": {
      const { http, grpc } = action.reply;
      const headers = http?.headers.map(([name, value]) => ({ name, value }));
      return { reply: { ...(http !== undefined && { http: { ...http, headers } }), ...(grpc && { grpc }) } };
    }
    case "service":
      return { service: { cluster: action.cluster } };
    case "cached": {
      const { maxAgeMs, maxEntries, maxBytes } = action.cached;
      return { cached: { maxAge: duration(maxAgeMs), maxEntries, maxBytes } };
    }
  }
}

function decodeAction(fields: Fields): FallbackAction {
  const service = fields.optionalMessage("service");
  if (service !== undefined) return { type: "service", cluster: service.string("cluster") };
  const cached = fields.optionalMessage("cached");
  if (cached !== undefined) {
    return {
      type: "cached",
      cached: {
        maxAgeMs: cached.durationMs("maxAge"),
        maxEntries: cached.number("maxEntries", 1, maxInteger),
        maxBytes: cached.number("maxBytes", 1, maxInteger),
      },
    };
  }
  const reply = fields.message("reply");
  const http = reply.optionalMessage("http");
  const grpc = reply.optionalMessage("grpc");
  return {
    type: "reply",
    reply: {
      ...(http !== undefined && {
        http: {
          status: http.number("status", 200, 599),
          headers: http
            .messages("headers")
            .map((field) => [field.requiredString("name"), field.string("value")] as const),
          body: http.string("body"),
        },
      }),
      ...(grpc !== undefined && {
        grpc: { status: grpc.number("status", 1, 16), message: grpc.string("message") },
      }),
    },
  };
}
