import type { AdminView } from "./admin-view.js";
import type { Page } from "./pages.js";

/** What a POST does. `after` runs when the answer is on its way. */
export interface Mutation {
  readonly page: Page;
  readonly after?: () => void;
}

/** Carries out a POST; what asks other processes answers later. */
export type MutationOf = (view: AdminView, query: URLSearchParams) => Mutation | Promise<Mutation>;
