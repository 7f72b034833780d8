import { ConfigError } from "../../src/errors/config-error.js";

/** One mistake in a file of documents. */
export interface DocumentProblem {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** Path of the field and what is wrong with it: `spec.rules.0.matchs: unknown field; did you mean "matches"?` */
  readonly message: string;
}

/** Everything that is wrong with a file, in the order of its lines: nothing of the file was applied. */
export class DocumentError extends ConfigError {
  readonly file: string;
  readonly problems: readonly DocumentProblem[];

  constructor(file: string, problems: readonly DocumentProblem[]) {
    super(
      problems.map((problem) => `${file}:${problem.line}:${problem.column}: ${problem.message}`).join("\n"),
    );
    this.file = file;
    this.problems = problems;
  }
}
