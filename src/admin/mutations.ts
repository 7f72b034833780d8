import type { AdminView } from "./admin-view.js";
import { breakerMutations } from "./breaker-mutations.js";
import type { Mutation, MutationOf } from "./mutation.js";
import { textPage } from "./pages.js";

/** POST paths. A GET must never change anything: browsers, crawlers and link previews send those by themselves. */
export const mutations: ReadonlyMap<string, MutationOf> = new Map<string, MutationOf>([
  ["/healthcheck/fail", (view: AdminView) => done(() => view.setHealthcheckFailing(true))],
  ["/healthcheck/ok", (view: AdminView) => done(() => view.setHealthcheckFailing(false))],
  ["/drain_listeners", (view: AdminView) => done(() => view.drain())],
  ["/quitquitquit", (view: AdminView) => ({ page: textPage("OK"), after: () => view.quit() })],
  ["/logging", setLevel],
  ...breakerMutations,
]);

function done(act: () => void): Mutation {
  act();
  return { page: textPage("OK") };
}

function setLevel(view: AdminView, query: URLSearchParams): Mutation {
  const level = query.get("level");
  if (level === null) return { page: textPage("which level? POST /logging?level=debug", 400) };
  if (!view.setLogLevel(level))
    return { page: textPage("no such level: use debug, info, warn or error", 400) };
  return { page: textPage(`level: ${view.logLevel()}`) };
}
