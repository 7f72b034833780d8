import type { FallbackReply } from "../config/fallback-config.js";
import { BufferedBody, type BodySource } from "../traffic/body.js";
import { getHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";
import { grpcStatusReply } from "../traffic/grpc-status-reply.js";

/** A new head, which its taker may change, and the body of an answer that a document wrote. */
export function fixedReply(
  { http, grpc }: FallbackReply,
  isGrpc: boolean,
): { readonly head: ResponseHead; readonly body: BodySource | null } {
  if (isGrpc) return { head: grpcStatusReply(grpc?.status ?? 14, grpc?.message ?? ""), body: null };
  const headers = (http?.headers ?? []).flat();
  const bytes = Buffer.from(http?.body ?? "");
  if (bytes.length > 0) {
    if (getHeader(headers, "content-type") === undefined)
      headers.push("content-type", "text/plain; charset=utf-8");
    headers.push("content-length", `${bytes.length}`);
  }
  const head = { status: http?.status ?? 503, reason: "", version: "1.1" as const, headers };
  return { head, body: bytes.length === 0 ? null : new BufferedBody(bytes) };
}
