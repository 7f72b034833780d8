import type { Attribute, AttributeMatch, TextMatch } from "../config/authorization-config.js";
import { ConfigError } from "../errors/config-error.js";
import { hostOf } from "../traffic/authority.js";
import { nameIs } from "../traffic/headers.js";
import { ipBytes, isInBlock, parseIpBlock } from "../traffic/ip-block.js";
import { decodeBytes, pathReadings } from "../traffic/path-readings.js";
import type { AuthorizationAttributes } from "./authorization-attributes.js";
import { compileText, type TextTest } from "./text-match.js";

/** One compiled condition. */
export type Condition = (attributes: AuthorizationAttributes) => boolean;

/** Is the attribute one that only HTTP has? */
export function isOfHttp(attribute: Attribute): boolean {
  return attribute.startsWith("request.");
}

/**
 * Compiles one condition. What can be read in several ways (a header that comes twice, a path with parameters) must fit in
 * all of them where a rule grants something, and in one of them where it refuses. Throws ConfigError with `place`.
 */
export function compileCondition(match: AttributeMatch, isGrant: boolean, place: string): Condition {
  const { values = [], notValues = [] } = match;
  const tests = values.map((value) => compileValue(match.attribute, value, place));
  const notTests = notValues.map((value) => compileValue(match.attribute, value, place));
  switch (match.attribute) {
    case "request.path":
      return onReadings((it) => pathReadings(it.http?.path ?? ""), tests, notTests, isGrant);
    case "request.header":
      return onHeader(match.header ?? "", tests, notTests, isGrant);
    default:
      return onText(textOf[match.attribute], tests, notTests);
  }
}

type SingleAttribute = Exclude<Attribute, "request.path" | "request.header">;

/** undefined: the request does not have it. */
const textOf: Readonly<Record<SingleAttribute, (it: AuthorizationAttributes) => string | undefined>> = {
  "source.principal": ({ principal }) => principal,
  "source.trust_domain": ({ principal }) => principal?.slice(scheme.length).split("/", 1)[0],
  "source.namespace": ({ principal }) => valueAfter(principal, "ns"),
  "source.service": ({ principal }) => {
    const service = valueAfter(principal, "svc") ?? valueAfter(principal, "sa");
    const namespace = valueAfter(principal, "ns");
    return service === undefined || namespace === undefined ? undefined : `${namespace}/${service}`;
  },
  "source.ip": ({ sourceIp }) => sourceIp,
  "destination.port": ({ port }) => String(port),
  "request.method": ({ http }) => http?.method,
  "request.host": ({ http }) => http?.authority,
};
const scheme = "spiffe://";

/** The paths of SPIFFE ids are names and values in turn: /ns/default/svc/web, also with more between them. */
function valueAfter(principal: string | undefined, name: string): string | undefined {
  if (principal === undefined) return undefined;
  const segments = principal.slice(scheme.length).split("/");
  for (let i = 1; i + 1 < segments.length; i += 2) if (segments[i] === name) return segments[i + 1];
  return undefined;
}

function compileValue(attribute: Attribute, match: TextMatch, place: string): TextTest {
  switch (attribute) {
    case "source.principal":
      return compilePrincipal(match, place);
    case "source.ip":
      return compileBlock(match.value, place);
    case "request.host":
      return compileHost(match, place);
    case "request.path":
      // Paths are compared as the text that their bytes spell.
      return compileText(
        match.type === "regex" ? match : { ...match, value: decodeBytes(match.value) },
        place,
      );
    default:
      return compileText(match, place);
  }
}

/** Compared with the id as it is: most rules ask for it, and nothing is cut off for each of them. */
function compilePrincipal(match: TextMatch, place: string): TextTest {
  const { type, value, isCaseless } = match;
  if ((type === "exact" || type === "prefix") && isCaseless !== true)
    return compileText({ type, value: `${scheme}${value}` }, place);
  const test = compileText(match, place);
  return (principal) => test(principal.slice(scheme.length));
}

function compileBlock(text: string, place: string): TextTest {
  const block = parseIpBlock(text);
  if (block === undefined)
    throw new ConfigError(`"${text}" is no IP address or block like 10.0.0.0/8`, { place });
  return (address) => {
    // The zone of a link-local address (fe80::1%eth0) is no part of it.
    const zone = address.indexOf("%");
    const bytes = ipBytes(zone === -1 ? address : address.slice(0, zone));
    return bytes !== undefined && isInBlock(bytes, block);
  };
}

/** A host without a port stands for all its ports: else `Host: admin:81` would slip past a rule for admin. */
function compileHost(match: TextMatch, place: string): TextTest {
  const test = compileText({ ...match, isCaseless: true }, place);
  return (authority) => test(authority) || test(hostOf(authority));
}

function onText(
  textIn: (it: AuthorizationAttributes) => string | undefined,
  tests: readonly TextTest[],
  notTests: readonly TextTest[],
): Condition {
  return (it) => {
    const text = textIn(it);
    if (text === undefined) return tests.length === 0;
    return (tests.length === 0 || fitsOne(tests, text)) && !fitsOne(notTests, text);
  };
}

function onReadings(
  readingsOf: (it: AuthorizationAttributes) => readonly string[],
  tests: readonly TextTest[],
  notTests: readonly TextTest[],
  isGrant: boolean,
): Condition {
  return (it) => {
    const readings = readingsOf(it);
    const quantify = isGrant ? every : some;
    return (
      (tests.length === 0 || quantify(readings, (text) => fitsOne(tests, text))) &&
      (notTests.length === 0 || quantify(readings, (text) => !fitsOne(notTests, text)))
    );
  };
}

/**
 * A header can come several times, as a list, and under a name with "_" that servers behind CGI-like gateways take for the
 * same. To refuse, one line or one element of a list is enough; to grant, all lines must fit, and one must bear the very name.
 */
function onHeader(
  name: string,
  tests: readonly TextTest[],
  notTests: readonly TextTest[],
  isGrant: boolean,
): Condition {
  const folded = name.replaceAll("_", "-");
  return ({ http }) => {
    const headers = http?.headers ?? [];
    const lines: string[] = [];
    let isThere = false;
    for (let i = 0; i < headers.length; i += 2) {
      const written = headers[i] as string;
      if (written.length !== name.length) continue;
      if (nameIs(written, name)) isThere = true;
      else if (written.toLowerCase().replaceAll("_", "-") !== folded) continue;
      lines.push(headers[i + 1] as string);
    }
    const fits = (text: string): boolean => fitsOne(tests, text);
    const fitsNot = (text: string): boolean => fitsOne(notTests, text);
    if (isGrant)
      return (
        (tests.length === 0 || (isThere && every(lines, fits))) &&
        !some(lines, (line) => anyPart(line, fitsNot))
      );
    return (
      (tests.length === 0 || some(lines, (line) => anyPart(line, fits))) &&
      (notTests.length === 0 || lines.length === 0 || some(lines, (line) => !fitsNot(line)))
    );
  };
}

/** The line as it is, or an element of it as a list (RFC 9110 §5.6.1). */
function anyPart(line: string, fits: TextTest): boolean {
  return fits(line) || (line.includes(",") && line.split(",").some((part) => fits(part.trim())));
}

function fitsOne(tests: readonly TextTest[], text: string): boolean {
  for (const test of tests) if (test(text)) return true;
  return false;
}

const every = (texts: readonly string[], fits: TextTest): boolean => texts.every(fits);
const some = (texts: readonly string[], fits: TextTest): boolean => texts.some(fits);
