/** Text -> value for every kind of setting. Each throws Error: what is wrong with the text, and what it may be. */
import { isIP } from "node:net";
import { isServiceName, isTrustDomain } from "../../certs/spiffe-id.js";
import type { AppCheck, UpstreamBinding, WanAddress } from "../../src/config/bootstrap.js";
import { didYouMean } from "../../src/config/did-you-mean.js";
import { formatDuration, parseDuration } from "../../src/time/duration.js";
import type { Parse } from "./setting.js";

/** Any text but the empty one: a path, a word. */
export function text(value: string): string {
  if (value === "") throw new Error("is empty; give a value");
  return value;
}

/** One of several words. */
export function oneOf<const T extends string>(...choices: readonly T[]): Parse<T> {
  const parse = (value: string): T => {
    if ((choices as readonly string[]).includes(value)) return value as T;
    const known = choices.join(", ");
    throw new Error(`${quote(value)} is not one of ${known}${didYouMean(value, choices)}`);
  };
  return Object.assign(parse, { choices });
}

/** A TCP port; 0 only where any free one will do. */
export function port(options: { readonly allowsZero: boolean }): Parse<number> {
  const least = options.allowsZero ? 0 : 1;
  return (value) => {
    const number = /^\d{1,5}$/.test(value) ? Number(value) : -1;
    if (number >= least && number <= 65_535) return number;
    throw new Error(`${quote(value)} is not a port; give a number from ${least} to 65535`);
  };
}

/** `off`, or a port with 0 for any free one. */
export function portOrOff(value: string): number | "off" {
  return value === "off" ? "off" : port({ allowsZero: true })(value);
}

/** `unix:///path` */
export function socketPath(value: string): { readonly path: string } {
  const socket = unixSocket(value);
  if (typeof socket === "object") return socket;
  throw new Error(`${quote(value)} is no socket; write unix:///run/app/workload.sock`);
}

/** `off`, `on`, or `unix:///path` as the SPIFFE Workload Endpoint writes it: absolute, without an authority. */
export function unixSocket(value: string): "off" | "on" | { readonly path: string } {
  if (value === "off" || value === "on") return value;
  const path = /^unix:(?:\/\/)?(\/[^\0?#]+)$/.exec(value)?.[1];
  if (path !== undefined && !path.startsWith("//")) return { path };
  throw new Error(`${quote(value)} is no socket; write unix:///run/app/workload.sock, on or off`);
}

/** `HOST:PORT`, IPv6 in brackets; returned as it was written. */
export function hostPort(value: string): string {
  const match = /^(?:\[[0-9a-fA-F:.%]+\]|[^\s:[\]/@]+):(\d{1,5})$/.exec(value);
  if (match !== null && Number(match[1]) <= 65_535) return value;
  throw new Error(`${quote(value)} is not HOST:PORT; write it like 127.0.0.1:15012`);
}

interface DurationRange {
  readonly leastMs: number;
  readonly mostMs: number;
}

/** A duration such as `30s`, `1m30s`, `250ms`; in milliseconds. */
export function duration(range: DurationRange): Parse<number> {
  return (value) => {
    const ms = parseDuration(value);
    if (ms === undefined)
      throw new Error(`${quote(value)} is not a duration; write it like 30s, 250ms or 1m30s`);
    return within(range, ms, value);
  };
}

function within({ leastMs, mostMs }: DurationRange, ms: number, value: string): number {
  if (ms >= leastMs && ms <= mostMs) return ms;
  throw new Error(`${value} is out of range; give ${formatDuration(leastMs)} to ${formatDuration(mostMs)}`);
}

/** `off`, or a duration. */
export function durationOrOff(range: DurationRange): Parse<number | "off"> {
  return (value) => (value === "off" ? "off" : duration(range)(value));
}

/** A duration that may also be whole days, such as `90d`; in milliseconds. */
export function longDuration(range: DurationRange): Parse<number> {
  const short = duration(range);
  return (value) => {
    const days = /^(\d{1,4})d$/.exec(value)?.[1];
    return days === undefined ? short(value) : within(range, Number(days) * 86_400_000, value);
  };
}

/** SHA-256 of a certificate as openssl prints it or in plain digits; returned as 64 lower-case digits. */
export function fingerprint(value: string): string {
  const digits = value
    .replace(/^sha-?256(?: fingerprint=|[:=])/i, "")
    .replaceAll(":", "")
    .toLowerCase();
  if (/^[0-9a-f]{64}$/.test(digits)) return digits;
  throw new Error(`${quote(value)} is no SHA-256; give what openssl x509 -fingerprint -sha256 prints`);
}

/** Name of a service or a namespace. */
export function serviceName(value: string): string {
  if (isServiceName(value)) return value;
  throw new Error(
    `${quote(value)} cannot be a name in the mesh; use a-z, 0-9, dash, dot and underscore, at most 63 characters`,
  );
}

/** Trust domain of SPIFFE ids. */
export function trustDomain(value: string): string {
  if (isTrustDomain(value)) return value;
  throw new Error(`${quote(value)} is no trust domain; use a-z, 0-9, dot, dash and underscore`);
}

/** An http or https URL without a path of its own. */
export function url(value: string): string {
  const parsed = URL.canParse(value) ? new URL(value) : undefined;
  if (parsed !== undefined && /^https?:$/.test(parsed.protocol)) return value.replace(/\/$/, "");
  const example = /^[^/@]+:\d+$/.test(value) ? `http://${value}` : "http://127.0.0.1:8500";
  throw new Error(`${quote(value)} is no address; write it like ${example}`);
}

/** A redis or rediss URL. The error does not show it: it may hold a password. */
export function redisUrl(value: string): string {
  const parsed = URL.canParse(value) ? new URL(value) : undefined;
  if (parsed !== undefined && /^rediss?:$/.test(parsed.protocol) && parsed.hostname !== "") return value;
  throw new Error("is no address of Redis; write it like redis://127.0.0.1:6379");
}

/** Throws for a URL with a password: every user of the machine can read command lines. */
export function noPassword(value: string): void {
  if (!URL.canParse(value) || new URL(value).password === "") return;
  throw new Error(
    "holds a password, which every user of this machine could read; put it where others cannot",
  );
}

/** An IP literal. */
export function ipAddress(value: string): string {
  if (isIP(value) !== 0) return value;
  throw new Error(`${quote(value)} is not an IP address; write it like 10.0.0.7`);
}

/** An IP literal, with or without a port: `203.0.113.9`, `203.0.113.9:21000`, `[2001:db8::9]:21000`. */
export function wanAddress(value: string): WanAddress {
  if (isIP(value) !== 0) return { address: value };
  const [, inBrackets, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(value) ?? [];
  const address = inBrackets ?? plain ?? "";
  const isPort = Number(port) >= 1 && Number(port) <= 65_535;
  if (isPort && isIP(address) === (inBrackets === undefined ? 4 : 6)) return { address, port: Number(port) };
  throw new Error(`${quote(value)} is not IP or IP:PORT; write it like 203.0.113.9 or 203.0.113.9:21000`);
}

/** A whole number. */
export function wholeNumber(least: number, most: number): Parse<number> {
  return (value) => {
    const number = /^\d{1,9}$/.test(value) ? Number(value) : -1;
    if (number >= least && number <= most) return number;
    throw new Error(`${quote(value)} is out of range; give a whole number from ${least} to ${most}`);
  };
}

/** A document, as `KIND/NAME` or `KIND/NAMESPACE/NAME`. */
export function documentName(value: string): {
  readonly kind: string;
  readonly namespace: string | undefined;
  readonly name: string;
} {
  const parts = value.split("/");
  const [kind = "", ...rest] = parts;
  const name = rest.pop() ?? "";
  const [namespace] = rest;
  if (parts.length <= 3 && parts.length >= 2 && parts.every((part) => part !== ""))
    return { kind, namespace, name };
  throw new Error(`${quote(value)} is no document; write it like authorizationpolicy/deny-admin`);
}

/** `NAME=VALUE` */
export function keyValue(value: string): readonly [string, string] {
  const at = value.indexOf("=");
  if (at > 0) return [value.slice(0, at), value.slice(at + 1)];
  throw new Error(`${quote(value)} is not NAME=VALUE; write it like version=2`);
}

/** `NAME:LOCALPORT` */
export function upstream(value: string): UpstreamBinding {
  const match = /^([^:]+):(\d{1,5})$/.exec(value);
  const [, service = "", digits = ""] = match ?? [];
  if (match === null || Number(digits) > 65_535)
    throw new Error(`${quote(value)} is not NAME:LOCALPORT; write it like api:9001`);
  return { service: serviceName(service), port: Number(digits) };
}

/** Local checks cost nothing; two lost ones in a row are noticed within five seconds. */
const checkTiming = { intervalMs: 2000, timeoutMs: 1000 };

/** `http:/path`, `tcp` or `ttl:15s` */
export function appCheck(value: string): AppCheck {
  if (value === "tcp") return { kind: "tcp", ...checkTiming };
  const path = /^http:(\/\S*)$/.exec(value)?.[1];
  if (path !== undefined) return { kind: "http", path, ...checkTiming };
  const ttl = /^ttl:(.+)$/.exec(value)?.[1];
  if (ttl !== undefined) return { kind: "ttl", ttlMs: duration({ leastMs: 1000, mostMs: 86_400_000 })(ttl) };
  throw new Error(`${quote(value)} is no check; write http:/health, tcp or ttl:15s`);
}

function quote(value: string): string {
  return JSON.stringify(value.slice(0, 100));
}
