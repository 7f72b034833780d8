import { z } from "zod";
import { parseDuration } from "../../time/duration.js";
import { didYouMean } from "../did-you-mean.js";

/**
 * A field that the standard has and this version of Remora does not carry out. It is refused by name: ignoring it would
 * let traffic flow otherwise than the document says.
 */
export function notSupported(instead?: string) {
  const text = `is not supported by this version of Remora${instead === undefined ? "" : `; ${instead}`}`;
  return z.never({ error: text }).optional().describe(`Not supported by this version.`);
}

/**
 * One of `values`; `later` are values that the standard has and this version does not carry out, `never` those that it will not,
 * each with the reason.
 */
export function choice<const T extends readonly [string, ...string[]]>(
  values: T,
  later: readonly string[] = [],
  never: Readonly<Record<string, string>> = {},
) {
  return z.enum(values, {
    error: ({ input }) => {
      if (typeof input !== "string") return `expected one of ${values.join(", ")}`;
      if (Object.hasOwn(never, input)) return `"${input}" is not supported: ${never[input]}`;
      if (later.includes(input)) {
        return `"${input}" is not supported by this version of Remora (it has ${values.join(", ")})`;
      }
      return `unknown value "${input}", expected one of ${values.join(", ")}${didYouMean(input, values)}`;
    },
  });
}

/** Gateway API Duration (GEP-2257), kept as the text that was written; the compiler turns it into milliseconds. */
export function duration() {
  return z
    .string({
      error: ({ input }) =>
        typeof input === "number" ? `${input} has no unit: write it like ${input}s or ${input}ms` : undefined,
    })
    .refine((text) => parseDuration(text) !== undefined, {
      error: ({ input }) =>
        `"${String(input)}" is not a duration: write one to four parts of a number and h, m, s or ms, like 1m30s or 250ms`,
    });
}

/** A duration longer than nothing. */
export function positiveDuration() {
  return duration().refine((text) => parseDuration(text) !== 0, { error: "must be longer than 0s" });
}

const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const subdomain = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;
const service = /^[a-z0-9][-a-z0-9_]{0,62}$/;

const quoted = (rule: string) => ({
  error: ({ input }: { readonly input?: unknown }) => `${JSON.stringify(input)} is not valid: ${rule}`,
});

/** Name of a namespace: an RFC 1123 label. */
export const namespaceName = () =>
  z
    .string()
    .regex(label, quoted("a namespace is up to 63 of a-z, 0-9 and -, with a letter or digit at both ends"));

/** Name of a document: an RFC 1123 subdomain, as in Kubernetes. */
export const documentName = () =>
  z
    .string()
    .regex(
      subdomain,
      quoted("a name is up to 253 of a-z, 0-9, - and ., with a letter or digit at both ends"),
    );

/** Name of a service, as identities allow it, but without a dot: `<service>.<namespace>` must have one reading. */
export const serviceName = () =>
  z
    .string()
    .regex(
      service,
      quoted("a service name is up to 63 of a-z, 0-9, - and _, with a letter or digit at its beginning"),
    );

/** What Consul allows, in lower case as it keeps them, and as identities of its CA have them. */
const datacenter = /^[a-z0-9][a-z0-9_-]{0,62}$/;

/** Name of a Consul datacenter. */
export const datacenterName = () =>
  z
    .string()
    .regex(
      datacenter,
      quoted("a datacenter's name is up to 63 of a-z, 0-9, - and _, with a letter or digit at its beginning"),
    );

/** RFC 9110 §5.6.2 token. */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}$/;

/** Name of a header field. */
export const headerName = () => z.string().regex(token, quoted("a header name is a token (RFC 9110 §5.6.2)"));

/** TCP port. */
export const port = () => z.int().min(1).max(65535);

/** A count that bounds something: 1 to 1,000,000. */
export const limit = () => z.int().min(1).max(1_000_000);

/** A share in percent, 0 to 100. */
export const percent = () => z.number().min(0).max(100);

/** A number of bytes, as text like 64KiB; config/byte-size.ts reads it. */
export const byteSize = () =>
  z.string().regex(/^[0-9]{1,6}(B|KiB|MiB)$/, { error: "must be a size like 64KiB" });
