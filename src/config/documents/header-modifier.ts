import { z } from "zod";
import { headerName } from "./field.js";

/** CR, LF and NUL end or split a header line (RFC 9110 §5.5); other control characters have no place in it either. */
const hasControl = /[\u0000-\u0008\u000a-\u001f\u007f]/;

const HeaderValue = z
  .string()
  .max(4096)
  .refine((value) => !hasControl.test(value), {
    error: "must not contain line breaks or other control characters: they would split the header",
  })
  // RFC 9110 §5.5: a value has no leading or trailing whitespace; receivers would drop it silently.
  .refine((value) => value === value.trim(), { error: "must not begin or end with a space" })
  // The wire carries bytes; a character above U+00FF has none of its own.
  .refine((value) => [...value].every((char) => (char.codePointAt(0) ?? 0) <= 0xff), {
    error: "must contain only characters up to U+00FF",
  });

/** One header field. */
export const HeaderField = z.strictObject({
  name: headerName().describe("Name of the header; case does not matter."),
  value: HeaderValue.describe("Value of the header."),
});

/** Gateway API HTTPHeaderFilter: applied in the order set, add, remove. */
export const HeaderModifierSpec = z.strictObject({
  set: z.array(HeaderField).max(16).optional().describe("Replaces the header, or adds it when absent."),
  add: z.array(HeaderField).max(16).optional().describe("Adds a further line of the header."),
  remove: z.array(headerName()).max(16).optional().describe("Removes every line of these headers."),
});
export type HeaderModifierSpec = z.infer<typeof HeaderModifierSpec>;
