/**
 * Consul's intentions as /v1/connect/intentions lists them, whether they were made one by one (Consul < 1.9) or as
 * service-intentions entries, which may have permissions for HTTP.
 */
import { ConfigError } from "../../src/errors/config-error.js";
import { compilePattern } from "../../src/config/pattern.js";
import type { Verdict } from "../../src/config/authorization-config.js";

/** Which services may call which. Names are services of the namespace default; "*" stands for all. */
export interface Intention {
  readonly source: string;
  readonly destination: string;
  /** What becomes of the source's calls; with permissions, of those that none of them is about. */
  readonly action: Verdict | "default";
  /** In order: the first that fits decides. */
  readonly permissions: readonly IntentionPermission[];
}

export interface IntentionPermission {
  readonly action: Verdict;
  /** One of them is set, or none: any path. */
  readonly path: { readonly type: "exact" | "prefix" | "regex"; readonly value: string } | undefined;
  /** Empty: any. */
  readonly methods: readonly string[];
  readonly headers: readonly IntentionHeader[];
}

export interface IntentionHeader {
  /** In lower case. */
  readonly name: string;
  readonly type: "present" | "exact" | "prefix" | "suffix" | "contains" | "regex";
  readonly value: string;
  readonly isInverted: boolean;
  readonly isCaseless: boolean;
}

/** What the mesh does by Consul's word. */
export interface Intentions {
  /** Most specific first. */
  readonly list: readonly Intention[];
  /** Of what no intention is about. */
  readonly otherwise: Verdict;
}

const any = "*";

/**
 * undefined when the answer is not what Consul answers. Intentions about other partitions, namespaces or peers are left out:
 * nobody of them is believed here. One with permissions that are not understood denies all that it is about.
 */
export function readIntentions(body: unknown): readonly Intention[] | undefined {
  if (!Array.isArray(body)) return undefined;
  const found = body.map((item) => readIntention(record(item))).filter((one) => one !== undefined);
  return found.sort((a, b) => b.precedence - a.precedence).map(({ intention }) => intention);
}

function readIntention(
  item: Readonly<Record<string, unknown>>,
): { readonly intention: Intention; readonly precedence: number } | undefined {
  const [source, destination] = [text(item["SourceName"]), text(item["DestinationName"])];
  if (source === "" || destination === "" || !isOfHere(item)) return undefined;
  const listed = item["Permissions"];
  const hasPermissions = Array.isArray(listed) && listed.length > 0;
  const own = text(item["Action"]) === "allow" ? "allow" : "deny";
  const permissions = hasPermissions ? listed.map((one) => readPermission(record(one))) : [];
  const isUnderstood = permissions.every((one) => one !== undefined) && isAbsent(item["JWT"]);
  const intention: Intention = {
    source,
    destination,
    action: isUnderstood ? (hasPermissions ? "default" : own) : "deny",
    permissions: isUnderstood ? permissions : [],
  };
  const { Precedence: precedence } = item;
  return { intention, precedence: typeof precedence === "number" ? precedence : specificity(intention) };
}

/**
 * The intentions as they would be with this configuration entry (kind service-intentions, in the form of `consul config read`)
 * in the place of all that is said about its service; without sources it is as if there were none. undefined: it is no such entry.
 */
export function withEntry(list: readonly Intention[], entry: unknown): readonly Intention[] | undefined {
  const { Kind: kind, Name: name, Sources: sources, JWT: jwt, ...where } = record(entry);
  if (kind !== "service-intentions" || typeof name !== "string" || name === "") return undefined;
  if (!Array.isArray(sources ?? [])) return undefined;
  const destination = {
    DestinationName: name,
    DestinationNS: where["Namespace"],
    DestinationPartition: where["Partition"],
    JWT: jwt,
  };
  const items = ((sources ?? []) as readonly unknown[]).map(record).map((source) => ({
    ...destination,
    SourceName: source["Name"],
    SourceNS: source["Namespace"],
    SourcePartition: source["Partition"],
    SourcePeer: source["Peer"],
    SourceSamenessGroup: source["SamenessGroup"],
    SourceType: source["Type"],
    Action: source["Action"],
    Permissions: source["Permissions"],
  }));
  const own = readIntentions(items) ?? [];
  const others = list.filter(({ destination }) => destination !== name);
  return [...others, ...own].sort((a, b) => specificity(b) - specificity(a));
}

/** Of the default partition and namespace, or of all, and no peer's. */
function isOfHere(item: Readonly<Record<string, unknown>>): boolean {
  const ours = ["", "default", any];
  const places = ["SourceNS", "DestinationNS", "SourcePartition", "DestinationPartition"];
  if (!places.every((field) => ours.includes(text(item[field])))) return false;
  const type = text(item["SourceType"]);
  return (
    text(item["SourcePeer"]) === "" &&
    text(item["SourceSamenessGroup"]) === "" &&
    (type === "" || type === "consul")
  );
}

/** Consul's order for those of one namespace: both names, then the destination's, then the source's. */
function specificity({ source, destination }: Intention): number {
  return (destination === any ? 0 : 2) + (source === any ? 0 : 1);
}

/** undefined: not understood, so nothing may be let through by it. */
function readPermission(item: Readonly<Record<string, unknown>>): IntentionPermission | undefined {
  const http = record(item["HTTP"]);
  if (!isAbsent(item["JWT"])) return undefined;
  const paths = (["exact", "prefix", "regex"] as const).flatMap((type) => {
    const value = text(http[`Path${capital(type)}`]);
    return value === "" ? [] : [{ type, value }];
  });
  const [path] = paths;
  const headers = (Array.isArray(http["Header"]) ? http["Header"] : []).map((one) => readHeader(record(one)));
  if (paths.length > 1 || (path?.type === "regex" && !isPattern(path.value))) return undefined;
  if (!headers.every((one) => one !== undefined)) return undefined;
  if (hasUnknown(http, httpFields)) return undefined;
  const methods = Array.isArray(http["Methods"]) ? http["Methods"] : [];
  if (!methods.every((method) => typeof method === "string")) return undefined;
  if (path === undefined && headers.length === 0 && methods.length === 0) return undefined;
  return { action: text(item["Action"]) === "allow" ? "allow" : "deny", path, methods, headers };
}

/** What a newer Consul may add would narrow what is granted here. */
const httpFields = new Set(["PathExact", "PathPrefix", "PathRegex", "Methods", "Header"]);
const headerFields = new Set([
  ...["Name", "Present", "Exact", "Prefix", "Suffix", "Contains", "Regex", "Invert", "IgnoreCase"],
]);

function hasUnknown(item: Readonly<Record<string, unknown>>, known: ReadonlySet<string>): boolean {
  return Object.entries(item).some(([field, value]) => !known.has(field) && !isAbsent(value) && value !== "");
}

function readHeader(item: Readonly<Record<string, unknown>>): IntentionHeader | undefined {
  const name = text(item["Name"]).toLowerCase();
  const kinds = (["exact", "prefix", "suffix", "contains", "regex"] as const).flatMap((type) => {
    const value = text(item[capital(type)]);
    return value === "" ? [] : [{ type, value }];
  });
  const kind = item["Present"] === true ? ({ type: "present", value: "" } as const) : kinds[0];
  if (name === "" || kind === undefined || kinds.length + (item["Present"] === true ? 1 : 0) !== 1)
    return undefined;
  if (hasUnknown(item, headerFields)) return undefined;
  if (kind.type === "regex" && !isPattern(kind.value)) return undefined;
  return { name, ...kind, isInverted: item["Invert"] === true, isCaseless: item["IgnoreCase"] === true };
}

function isPattern(source: string): boolean {
  try {
    compilePattern(source, "intention");
    return true;
  } catch (error: unknown) {
    if (error instanceof ConfigError) return false;
    throw error;
  }
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null;
}

function capital(word: string): string {
  return `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`;
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
