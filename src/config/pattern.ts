import { messageOf } from "../errors/message-of.js";
import { RE2JS } from "re2js";
import { ConfigError } from "../errors/config-error.js";

/** Longer patterns are mistakes or attacks; Envoy's guideline for RE2 programs is far smaller. */
const maxPatternLength = 1024;
/** Instructions of the compiled program: bounds memory and the work per input character. */
const maxProgramSize = 5000;

/** A compiled regular expression of a document: true when it matches all of the input, in time linear to its length. */
export type Pattern = (input: string) => boolean;

/**
 * Compiles RE2 syntax. `place` names the document for the ConfigError that is thrown when the pattern is not valid
 * RE2 or too large.
 */
export function compilePattern(source: string, place: string): Pattern {
  if (source.length > maxPatternLength)
    throw new ConfigError(
      `regular expression of ${source.length} characters: use at most ${maxPatternLength}`,
      { place },
    );
  let compiled: RE2JS;
  try {
    compiled = RE2JS.compile(source);
  } catch (error: unknown) {
    const reason = messageOf(error);
    throw new ConfigError(`regular expression ${JSON.stringify(source)} is not valid RE2 syntax: ${reason}`, {
      place,
      cause: error,
    });
  }
  const size = compiled.programSize();
  if (size > maxProgramSize)
    throw new ConfigError(
      `regular expression ${JSON.stringify(source)} compiles to ${size} instructions: simplify it to at most ${maxProgramSize}`,
      { place },
    );
  return (input) => compiled.matches(input);
}
