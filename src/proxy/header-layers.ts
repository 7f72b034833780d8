import type { HeaderModifier } from "../config/snapshot.js";
import { applyHeaderModifier } from "../policy/header-modifier.js";
import type { Layer, Reply } from "../stack/service.js";
import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";

/** Changes request fields before, and response fields after the inner service, as a route or a backend asks for. */
export function headerModifiers(request?: HeaderModifier, response?: HeaderModifier): readonly Layer[] {
  const layers: Layer[] = [];
  if (request !== undefined) {
    layers.push((inner) => ({
      call(context, reply) {
        applyHeaderModifier(context.head.headers, request);
        return inner.call(context, reply);
      },
    }));
  }
  if (response !== undefined) {
    layers.push((inner) => ({
      call: (context, reply) => inner.call(context, new ModifiedReply(reply, response)),
    }));
  }
  return layers;
}

class ModifiedReply implements Reply {
  readonly #reply: Reply;
  readonly #modifier: HeaderModifier;

  constructor(reply: Reply, modifier: HeaderModifier) {
    this.#reply = reply;
    this.#modifier = modifier;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    applyHeaderModifier(head.headers, this.#modifier);
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    this.#reply.end(error);
  }
}
