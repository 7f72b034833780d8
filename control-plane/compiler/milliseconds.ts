import { parseDuration } from "../../src/time/duration.js";

/** A duration of a document in milliseconds; `fallback` when the document is silent. */
export function milliseconds(text: string | undefined, fallback: number): number {
  return text === undefined ? fallback : (parseDuration(text) ?? fallback);
}
