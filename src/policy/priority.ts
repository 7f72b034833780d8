import type { InboundRule } from "../config/inbound-config.js";
import type { PriorityConfig } from "../config/priority-config.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Layer } from "../stack/service.js";
import { getHeader } from "../traffic/headers.js";
import { priorityClasses, priorityHeader, priorityOf, type Priority } from "../traffic/priority.js";

/** Outbound: gives requests their class and tells it to whoever they are sent to. Once per request, retries have the same. */
export function outboundPriority(config: PriorityConfig): Layer {
  const classOf = classReader(config);
  return (inner) => ({
    call(request, reply) {
      setPriority(request, classOf(request));
      return inner.call(request, reply);
    },
  });
}

/**
 * Inbound: gives requests their class and tells it to the application, unless the caller's sidecar has said it. The word of
 * a caller without a certificate counts for nothing, a header of its choice included.
 */
export function inboundPriority(config: PriorityConfig): Layer {
  const classOf = classReader(config);
  const isHeader = config.type === "header";
  return (inner) => ({
    call(request, reply) {
      const isProven = request.peerId !== undefined;
      if (isProven ? request.claimedPriority === "" : !isHeader) setPriority(request, classOf(request));
      return inner.call(request, reply);
    },
  });
}

/** The class as a section of the inbound rules. */
export const inboundPriorities = {
  layers: ({ priority }: InboundRule): readonly Layer[] =>
    priority === undefined ? [] : [inboundPriority(priority)],
  settle(): void {},
};

/** Takes the class over and writes it down for those who come after. */
export function setPriority(request: RequestContext, priority: Priority): void {
  request.priority = priority;
  request.head.headers.push(priorityHeader, priorityClasses[priority]);
}

function classReader(config: PriorityConfig): (request: RequestContext) => Priority {
  if (config.type === "class") {
    const always = priorityOf(config.class);
    return () => always;
  }
  const { name } = config;
  // The mesh's own header is off the head by now: nobody else is to read what was not proven.
  if (name === priorityHeader) return (request) => priorityOf(request.claimedPriority);
  return (request) => priorityOf(getHeader(request.head.headers, name));
}
