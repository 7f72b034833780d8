import type { EndpointTransport } from "./endpoint.js";
import type { RequestContext } from "./request-context.js";
import type { Call, Reply, Service } from "./service.js";

/**
 * A service that is made by its first call: of a thousand services that a sidecar knows, it calls a few.
 * @param make must not throw.
 */
export class DeferredService implements Service {
  readonly #make: () => Service;
  #made: Service | undefined;

  constructor(make: () => Service) {
    this.#make = make;
  }

  call(request: RequestContext, reply: Reply): Call {
    return (this.#made ??= this.#make()).call(request, reply);
  }
}

/** The same for a transport. What it was told before it was made holds afterwards. */
export class DeferredTransport implements EndpointTransport {
  readonly #make: () => EndpointTransport;
  #made: EndpointTransport | undefined;
  #end: "retire" | "close" | undefined;

  constructor(make: () => EndpointTransport) {
    this.#make = make;
  }

  call(request: RequestContext, reply: Reply): Call {
    return (this.#made ?? this.#first()).call(request, reply);
  }

  retire(): void {
    this.#end ??= "retire";
    this.#made?.retire();
  }

  close(): void {
    this.#end = "close";
    this.#made?.close();
  }

  #first(): EndpointTransport {
    const made = (this.#made = this.#make());
    if (this.#end !== undefined) made[this.#end]();
    return made;
  }
}
