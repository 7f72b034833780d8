import { ProxyError } from "../errors/proxy-error.js";
import { getHeader, removeHeader } from "../traffic/headers.js";
import type { RequestHead } from "../traffic/message.js";
import type { ParsedResponse } from "./response-head.js";
import { keyOf, newWebSocketKey, webSocketAccept } from "./websocket-key.js";

/** The offer of a tunnel as HTTP/1.1 writes it. */
export interface UpgradeOffer {
  readonly head: RequestHead;
  /** The Sec-WebSocket-Accept that has to come with the 101; "" where the client itself looks at it. */
  readonly accept: string;
}

/**
 * How a head that asks for a tunnel is offered to an HTTP/1.1 server. Over HTTP/2 a WebSocket comes with the method CONNECT
 * and without a key (RFC 8441 §4, §5): both are made up for. Throws ProxyError when HTTP/1.1 has no such tunnel.
 */
export function upgradeOffer(head: RequestHead): UpgradeOffer {
  if (head.upgrade === "tcp")
    throw new ProxyError("upstream_protocol_error", "raw TCP to an upstream that is spoken HTTP/1.1 with");
  const isKeyless = head.upgrade === "websocket" && head.version === "2" && keyOf(head) === undefined;
  if (!isKeyless && head.method !== "CONNECT") return { head, accept: "" };
  const headers = [...head.headers];
  const key = isKeyless ? newWebSocketKey() : "";
  if (isKeyless) headers.push("Sec-WebSocket-Key", key);
  return { head: { ...head, method: "GET", headers }, accept: isKeyless ? webSocketAccept(key) : "" };
}

/**
 * Checks a 101 against what was asked for; the fields that only this connection needed are taken off. Throws ProxyError
 * upstream_protocol_error: whatever follows such a 101 is no tunnel and no response.
 */
export function acceptUpgrade(response: ParsedResponse, asked: string, accept: string): void {
  if (asked === "") throw refused("101 without a request to upgrade");
  if (response.upgrade !== asked) throw refused(`101 to another protocol than ${asked}`);
  if (accept === "") return;
  const { headers } = response.head;
  if (getHeader(headers, "sec-websocket-accept") !== accept)
    throw refused("101 with a wrong Sec-WebSocket-Accept");
  removeHeader(headers, "sec-websocket-accept");
}

function refused(detail: string): ProxyError {
  return new ProxyError("upstream_protocol_error", detail);
}
