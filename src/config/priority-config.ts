import type { PriorityClass } from "../traffic/priority.js";

/** Where the class of a request comes from. */
export type PriorityConfig =
  | { readonly type: "class"; readonly class: PriorityClass }
  /** The header of this name, in lower case, holds the name of the class. */
  | { readonly type: "header"; readonly name: string };
