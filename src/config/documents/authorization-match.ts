import type { Attribute, TextMatch } from "../authorization-config.js";

/** The keys of `when` that have no name in brackets, and what they stand for. */
export const whenKeys: ReadonlyMap<string, Attribute> = new Map([
  ["source.ip", "source.ip"],
  ["source.namespace", "source.namespace"],
  ["source.principal", "source.principal"],
  ["source.serviceAccount", "source.service"],
  ["source.trustDomain", "source.trust_domain"],
  ["destination.port", "destination.port"],
]);

/** Name of the header in `request.headers[name]`; undefined when the key is not of this form. */
export function headerOf(key: string): string | undefined {
  return /^request\.headers\[([^[\]]+)\]$/.exec(key)?.[1];
}

/** Istio's way to write how a text is compared: `abc`, `abc*`, `*abc`, `*`; of paths also with `{*}` and `{**}`. */
export function textMatch(attribute: Attribute, text: string): TextMatch {
  const value = attribute === "source.principal" ? withoutScheme(text) : text;
  if (attribute === "source.ip") return { type: "exact", value };
  if (attribute === "request.path" && /\{\*\*?\}/.test(value)) return { type: "template", value };
  if (value === "*") return { type: "present", value: "" };
  if (value.endsWith("*")) return { type: "prefix", value: value.slice(0, -1) };
  if (value.startsWith("*")) return { type: "suffix", value: value.slice(1) };
  return { type: "exact", value };
}

const scheme = "spiffe://";

function withoutScheme(text: string): string {
  return text.startsWith(scheme) ? text.slice(scheme.length) : text;
}
