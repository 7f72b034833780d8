import { splitSpiffeUri } from "../../certs/spiffe-id.js";
import type { Attribute } from "../../src/config/authorization-config.js";
import { headerOf, textMatch, whenKeys } from "../../src/config/documents/authorization-match.js";
import {
  type AuthorizationOperation,
  type AuthorizationPolicy,
  type AuthorizationSource,
  type AuthorizationWhen,
  dryRunAnnotation,
  modeAnnotation,
} from "../../src/config/documents/authorization-policy.js";
import { headerName, namespaceName, serviceName } from "../../src/config/documents/field.js";
import { didYouMean } from "../../src/config/did-you-mean.js";
import { parseIpBlock } from "../../src/traffic/ip-block.js";
import { normalizeTarget, hasEncodedSeparator } from "../../src/traffic/path.js";
import { checkSelector } from "./check-selector.js";
import { checkUnique, type Report } from "./field-checks.js";
import type { FieldProblem } from "./schema-problems.js";
import type { FieldPath } from "./yaml-position.js";

/** What a schema cannot say of an AuthorizationPolicy. A rule that never matches as it is written is refused here. */
export function checkAuthorizationPolicy(policy: AuthorizationPolicy): readonly FieldProblem[] {
  const problems: FieldProblem[] = [];
  const report: Report = (path, message) => problems.push({ path, message });
  checkTarget(policy, report);
  checkMode(policy, report);
  (policy.spec.rules ?? []).forEach(({ from = [], to = [], when = [] }, index) => {
    const path = ["spec", "rules", index];
    from.forEach(({ source }, at) => checkSource(source, [...path, "from", at, "source"], report));
    to.forEach(({ operation }, at) => checkOperation(operation, [...path, "to", at, "operation"], report));
    when.forEach((condition, at) => checkWhen(condition, [...path, "when", at], report));
  });
  return problems;
}

/** Fields and what their texts stand for. */
const sourceFields: Readonly<Record<keyof AuthorizationSource, Attribute | undefined>> = {
  principals: "source.principal",
  notPrincipals: "source.principal",
  namespaces: "source.namespace",
  notNamespaces: "source.namespace",
  serviceAccounts: "source.service",
  notServiceAccounts: "source.service",
  trustDomains: "source.trust_domain",
  notTrustDomains: "source.trust_domain",
  ipBlocks: "source.ip",
  notIpBlocks: "source.ip",
  requestPrincipals: undefined,
  notRequestPrincipals: undefined,
  remoteIpBlocks: undefined,
  notRemoteIpBlocks: undefined,
};
const operationFields: Readonly<Record<keyof AuthorizationOperation, Attribute>> = {
  hosts: "request.host",
  notHosts: "request.host",
  ports: "destination.port",
  notPorts: "destination.port",
  methods: "request.method",
  notMethods: "request.method",
  paths: "request.path",
  notPaths: "request.path",
};

function checkTarget({ spec }: AuthorizationPolicy, report: Report): void {
  const { selector, targetRefs } = spec;
  if (selector !== undefined && targetRefs !== undefined)
    report(["spec", "selector"], "targetRefs names the services already: leave one of the two out");
  checkSelector(selector, report);
  (targetRefs ?? []).forEach(({ name }, index) =>
    checkName(serviceName(), name, ["spec", "targetRefs", index, "name"], report),
  );
  checkUnique(
    (targetRefs ?? []).map(({ name }) => name),
    (index) => ["spec", "targetRefs", index, "name"],
    "target",
    report,
  );
}

/** A misspelt word must not put a policy in force that was to be tried out. */
function checkMode({ metadata }: AuthorizationPolicy, report: Report): void {
  const { annotations = {} } = metadata;
  const mode = annotations[modeAnnotation];
  if (mode !== undefined && mode !== "audit" && mode !== "enforce")
    report(["metadata", "annotations", modeAnnotation], `"${mode}" is no mode: write audit or enforce`);
  const dryRun = annotations[dryRunAnnotation];
  if (dryRun !== undefined && dryRun !== "true" && dryRun !== "false")
    report(["metadata", "annotations", dryRunAnnotation], `must be "true" or "false"`);
}

function checkSource(source: AuthorizationSource, path: FieldPath, report: Report): void {
  for (const field of Object.keys(source) as (keyof AuthorizationSource)[]) {
    const attribute = sourceFields[field];
    if (attribute !== undefined) checkTexts(attribute, source[field], [...path, field], report);
  }
  // Istio: serviceAccounts stands for both of them.
  const isByService = source.serviceAccounts !== undefined || source.notServiceAccounts !== undefined;
  const isByOther = source.principals !== undefined || source.namespaces !== undefined;
  if (isByService && isByOther)
    report(path, "serviceAccounts cannot be combined with principals or namespaces: it says both");
  if (Object.keys(source).length === 0) report(path, "says nothing: leave `from` out to mean every caller");
}

function checkOperation(operation: AuthorizationOperation, path: FieldPath, report: Report): void {
  for (const field of Object.keys(operation) as (keyof AuthorizationOperation)[]) {
    checkTexts(operationFields[field], operation[field], [...path, field], report);
  }
  if (Object.keys(operation).length === 0) report(path, "says nothing: leave `to` out to mean every request");
}

function checkWhen({ key, values, notValues }: AuthorizationWhen, path: FieldPath, report: Report): void {
  if (values === undefined && notValues === undefined) report(path, "needs values or notValues");
  const header = headerOf(key);
  const attribute = header === undefined ? whenKeys.get(key) : "request.header";
  if (attribute === undefined) return report([...path, "key"], keyProblem(key));
  if (header !== undefined) checkHeader(header, [...path, "key"], report);
  checkTexts(attribute, values, [...path, "values"], report);
  checkTexts(attribute, notValues, [...path, "notValues"], report);
}

const otherKeys = /^(?:request\.auth\.|remote\.ip$|connection\.sni$|destination\.ip$|experimental\.)/;

function keyProblem(key: string): string {
  const known = ["request.headers[name]", ...whenKeys.keys()];
  if (otherKeys.test(key))
    return `"${key}" is not supported by this version of Remora (it has ${known.join(", ")})`;
  return `unknown key "${key}", expected one of ${known.join(", ")}${didYouMean(key, known)}`;
}

function checkHeader(name: string, path: FieldPath, report: Report): void {
  checkName(headerName(), name, path, report);
  if (name.toLowerCase() === "host") report(path, "the host has more than one spelling: use hosts of `to`");
}

function checkTexts(
  attribute: Attribute,
  texts: readonly string[] | undefined,
  path: FieldPath,
  report: Report,
): void {
  texts?.forEach((text, index) => {
    const problem = textProblem(attribute, text);
    if (problem !== undefined) report([...path, index], problem);
  });
}

function textProblem(attribute: Attribute, text: string): string | undefined {
  if (attribute === "source.ip")
    return parseIpBlock(text) === undefined
      ? `"${text}" is no IP address or block like 10.0.0.0/8`
      : undefined;
  const match = textMatch(attribute, text);
  if (match.type === "template") return templateProblem(text);
  if (match.value.includes("*")) return `"${text}": * stands alone, at the beginning or at the end`;
  if (match.value === "" && match.type !== "present") return `"${text}" is empty`;
  const isWhole = match.type === "exact";
  switch (attribute) {
    case "destination.port":
      return isWhole && !isPort(text) ? `"${text}" is no port: write "1" to "65535"` : undefined;
    case "request.method":
      return /[a-z]/.test(text) ? `"${text}" never matches: methods are in upper case` : undefined;
    case "request.path":
      return match.type === "suffix" || match.type === "present" ? undefined : pathProblem(match.value, text);
    case "source.principal":
      return isWhole && !isSpiffe(match.value)
        ? `"${text}" is no SPIFFE id like mesh.local/ns/default/svc/web`
        : undefined;
    case "source.service":
      return serviceProblem(text, isWhole);
    default:
      return undefined;
  }
}

/** Requests come with canonical paths only: another spelling would never match. */
function pathProblem(path: string, text: string): string | undefined {
  if (!path.startsWith("/")) return `"${text}" never matches: a path begins with /`;
  if (path.includes("?")) return `"${text}" never matches: paths are compared without query`;
  if (hasEncodedSeparator(path.toUpperCase()))
    return `"${text}" never matches: with rules about paths, %2F and %5C are refused`;
  const canonical = normalizeTarget(path);
  if (canonical === path) return undefined;
  const instead = canonical === undefined ? "percent-encode it" : `write ${canonical}`;
  return `"${text}" never matches as it is spelt: ${instead}`;
}

/** Envoy's rules: an operator is a whole segment, and after {**} stands plain text. */
function templateProblem(text: string): string | undefined {
  const plain = text.replace(/\{\*\*?\}/g, "x");
  if (/[{}*]/.test(plain)) return `"${text}": only {*} and {**} stand in a template`;
  if (!text.split("/").every((segment) => /^\{\*\*?\}$/.test(segment) || !segment.includes("{")))
    return `"${text}": {*} and {**} stand for whole segments`;
  if (/\{\*\*\}.*\{/.test(text)) return `"${text}": {**} must be the last of its operators`;
  return pathProblem(plain, text);
}

function serviceProblem(text: string, isWhole: boolean): string | undefined {
  if (!isWhole) return `"${text}": a service is named in full, without *`;
  const [first = "", second, ...more] = text.split("/");
  const [namespace, service] = second === undefined ? ["default", first] : [first, second];
  const isNamed =
    more.length === 0 &&
    namespaceName().safeParse(namespace).success &&
    serviceName().safeParse(service).success;
  return isNamed ? undefined : `"${text}" is no service like web or default/web`;
}

function isPort(text: string): boolean {
  return /^[1-9][0-9]{0,4}$/.test(text) && Number(text) <= 65535;
}

function isSpiffe(principal: string): boolean {
  try {
    return splitSpiffeUri(`spiffe://${principal}`).path !== "";
  } catch {
    return false;
  }
}

function checkName(
  schema: ReturnType<typeof headerName>,
  text: string,
  path: FieldPath,
  report: Report,
): void {
  const named = schema.safeParse(text);
  if (!named.success) report(path, named.error.issues[0]?.message ?? "is not a name");
}
