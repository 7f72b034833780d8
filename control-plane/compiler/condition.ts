/** What became of a document, in the words of the Gateway API. */
export interface Condition {
  /**
   * Accepted: it is in force. ResolvedRefs: every service it names exists. PartiallyInvalid: a part is without effect.
   * Surprising: it is in force as a whole, and something in it does less than it seems to.
   */
  readonly type: "Accepted" | "ResolvedRefs" | "PartiallyInvalid" | "Surprising";
  readonly status: "True" | "False";
  /** One word in camel case, for programs. */
  readonly reason: string;
  /** One line, for people. */
  readonly message: string;
}

export function condition(
  type: Condition["type"],
  status: Condition["status"],
  reason: string,
  message: string,
): Condition {
  return { type, status, reason, message };
}

/** What an operator should hear at once of a document that was accepted. */
export function warningsOf(conditions: readonly Condition[]): readonly string[] {
  return conditions
    .filter(
      ({ type, status, reason }) =>
        status === "False" ||
        type === "PartiallyInvalid" ||
        type === "Surprising" ||
        reason === "ParentNotFound",
    )
    .map(({ message }) => message);
}
