import { createHash, randomBytes } from "node:crypto";
import { getHeader, type Headers } from "../traffic/headers.js";
import type { RequestHead } from "../traffic/message.js";

/** RFC 6455 §1.3. */
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** A Sec-WebSocket-Key as a client makes it: 16 random bytes in base64 (RFC 6455 §4.1). */
export function newWebSocketKey(): string {
  return randomBytes(16).toString("base64");
}

/** The Sec-WebSocket-Accept that proves that this key was read (RFC 6455 §4.2.2). */
export function webSocketAccept(key: string): string {
  return createHash("sha1").update(key).update(guid).digest("base64");
}

/** The key of a WebSocket handshake; undefined when it has none: HTTP/2 knows no key (RFC 8441 §5.1). */
export function keyOf(head: RequestHead): string | undefined {
  return head.upgrade === "websocket" ? getHeader(head.headers, "sec-websocket-key") : undefined;
}

/** Answers the key where an upstream over HTTP/2 did not have to; leaves an upstream's own answer as it is. */
export function addAccept(headers: Headers, key: string): void {
  if (getHeader(headers, "sec-websocket-accept") !== undefined) return;
  headers.push("Sec-WebSocket-Accept", webSocketAccept(key));
}
