/** How much requests matter, most first. What is kept for each class is a list in this order. */
export const priorityClasses = ["critical", "default", "batch"] as const;

export type PriorityClass = (typeof priorityClasses)[number];

/** A class by its place in `priorityClasses`. */
export type Priority = 0 | 1 | 2;

/** All classes, most important first. */
export const priorities: readonly Priority[] = [0, 1, 2];
export const defaultPriority: Priority = 1;
export const batchPriority: Priority = 2;

/** Carries the class between sidecars, and from a sidecar to its application. */
export const priorityHeader = "x-remora-priority";

/** The class of this name; whatever is none of the names is default. */
export function priorityOf(name: string | undefined): Priority {
  if (name === "critical") return 0;
  return name === "batch" ? 2 : 1;
}
