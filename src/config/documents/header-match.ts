import { z } from "zod";
import { choice, headerName } from "./field.js";

/** A value, or an expression in RE2. */
export const matchPattern = () => z.string().max(4096);

/** Gateway API HTTPHeaderMatch and GRPCHeaderMatch. */
export const HeaderMatch = z.strictObject({
  type: choice(["Exact", "RegularExpression"]).default("Exact").describe("How value is compared."),
  name: headerName().describe("Name of the header; case does not matter."),
  value: matchPattern().describe("The value, or an RE2 expression that must match all of it."),
});
export type HeaderMatch = z.infer<typeof HeaderMatch>;
