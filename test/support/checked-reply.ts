import type { ProxyError } from "../../src/errors/proxy-error.js";
import type { Reply } from "../../src/stack/service.js";

/** Told how a call ends, in place of the reply itself. `wasStarted`: its head had been passed on. */
export type CheckedEnd = (error: ProxyError | null, wasStarted: boolean) => void;

/** Passes a reply on, and notes breaches of what Reply promises: informational*, head?, end; end once and last. */
export function checkedReply(name: string, reply: Reply, breaches: string[], end: CheckedEnd): Reply {
  let at: "start" | "head" | "ended" = "start";
  const expect = (isRight: boolean, what: string): void => {
    if (!isRight) breaches.push(`${name}: ${what} after ${at}`);
  };
  return {
    informational: (head) => {
      expect(at === "start", "informational");
      reply.informational(head);
    },
    head: (head, body) => {
      expect(at === "start", "head");
      at = "head";
      reply.head(head, body);
    },
    end: (error) => {
      expect(at !== "ended", "end");
      expect(error !== null || at === "head", "clean end");
      const wasStarted = at === "head";
      at = "ended";
      end(error, wasStarted);
    },
  };
}
