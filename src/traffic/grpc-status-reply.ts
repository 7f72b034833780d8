import type { ResponseHead } from "./message.js";

/** gRPC over HTTP2, "Trailers-Only": status 200, the outcome in the head, no body. @param status 0-16 */
export function grpcStatusReply(status: number, message: string): ResponseHead {
  const headers = ["content-type", "application/grpc", "grpc-status", `${status}`];
  if (message !== "") headers.push("grpc-message", percentEncoded(message));
  return { status: 200, reason: "", version: "1.1", headers };
}

/** gRPC over HTTP2, Percent-Encoded: everything but visible ASCII, space, and "%". */
function percentEncoded(text: string): string {
  let encoded = "";
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
