import type { ProxyError } from "../errors/proxy-error.js";
import type { Reply } from "../stack/service.js";
import type { BodySource } from "../traffic/body.js";
import { deniedByField } from "./authorization.js";
import { removeHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";

/**
 * Takes off what only a sidecar may say of a response. An application that passes on the reply of its own upstream would
 * otherwise vouch that the request never reached it, and the caller's sidecar would send it again.
 */
export class ApplicationReply implements Reply {
  readonly #reply: Reply;

  constructor(reply: Reply) {
    this.#reply = reply;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    removeHeader(head.headers, "x-remora-error");
    removeHeader(head.headers, deniedByField);
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    this.#reply.end(error);
  }
}
