import type { StreamIdleConfig } from "../config/stream-idle-config.js";
import { duration, type Fields } from "./fields.js";

/** remora.v1.StreamIdle. */
export function encodeStreamIdle({ idleMs, source }: StreamIdleConfig): object {
  return { idle: duration(idleMs), source };
}

/** Throws ConfigError. */
export function decodeStreamIdle(fields: Fields): StreamIdleConfig {
  return { idleMs: fields.durationMs("idle"), source: fields.string("source") };
}
