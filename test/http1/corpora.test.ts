/**
 * Public test corpora (llhttp's own cases and Http11Probe). They lie beside the repository, or where REMORA_CORPORA says.
 * Where our answer differs from theirs, a table says why.
 */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { decodeProbe, probeRefusals, type ProbeCase } from "../support/http11probe.js";
import { readRequests, readResponses } from "../support/http1-messages.js";

const root = path.resolve(import.meta.dirname, "../../..");
const folder = process.env["REMORA_CORPORA"] ?? path.join(root, "../shared/corpora");
const skip = existsSync(folder) ? false : `no corpora at ${folder}`;

function load<Case>(file: string): Case[] {
  return JSON.parse(readFileSync(path.join(folder, file), "utf8")) as Case[];
}

interface LlhttpCase {
  readonly kind: "request" | "response";
  readonly title: string;
  readonly http: string;
  readonly error: string | null;
}

/** Legal for llhttp, refused here. By kind and title. */
const stricter = new Map<string, string>([
  ["request M-SEARCH request", "target * is for OPTIONS only (RFC 9112 §3.2.4)"],
  ["request SOURCE request with ICE", "not HTTP"],
  ["request OPTIONS request with RTSP", "not HTTP"],
  ["request ANNOUNCE request with RTSP", "not HTTP"],
  ["response RTSP response", "not HTTP"],
  ["response ICE response", "not HTTP"],
  ["request No HTTP version", "HTTP/0.9"],
  ["response HTTP version 0.9", "HTTP/0.9"],
  ["request curl GET", "= in a host: one spelling per host"],
  ["request Firefox GET", "= in a host: one spelling per host"],
  ["request POST with `chunked` as last transfer-encoding", "fragment in the target"],
  ["request POST with `chunked` as last transfer-encoding (multiple headers)", "fragment in the target"],
  ["request Fragment in URI", "fragment in the target"],
  ["request `host:port` and basic auth", "userinfo in the target (RFC 9110 §4.2.4)"],
  ["response HTTP 304 with Content-Length", "empty line between responses"],
  ["response HTTP 100 first, then 400", "empty line between responses"],
  ["response Response starting with CRLF", "empty line before a response"],
  ["response `chunked` before other transfer-encoding", "coding that we cannot take off"],
  ["response multiple transfer-encoding where chunked is not the last one", "coding that we cannot take off"],
  ["response `chunkedchunked` transfer-encoding does not enable chunked enconding", "unknown coding"],
  ["response Should parse multiple events", "empty line between responses"],
]);

/** An error for llhttp, not for the codec alone. By llhttp's error text. */
const elsewhere = new Map<string, string>([
  ["Pause on CONNECT/Upgrade", "the connection decides what follows an upgrade"],
  ["Data after `Connection: close`", "the connection stops reading"],
  ["Invalid method for HTTP/x.x request", "methods are any token"],
  ["Expected space after method", "methods are any token"],
]);

function decodeLlhttp(text: string): string {
  return text
    .replace(/\\\n/g, "")
    .replace(/\n/g, "\r\n")
    .replace(/\\([rntf]|x[0-9a-f]{2}|[0-7]{3})/gi, (_, escape: string) => {
      if (escape.startsWith("x")) return String.fromCharCode(parseInt(escape.slice(1), 16));
      if (/\d/.test(escape)) return String.fromCharCode(parseInt(escape, 8));
      return { r: "\r", n: "\n", t: "\t", f: "\f" }[escape] ?? "";
    });
}

/** llhttp leaves Host to others; without one every HTTP/1.1 case would be refused for that. */
function withHost(text: string): string {
  return /^host:/im.test(text)
    ? text
    : text.replace(/^([A-Z-]+ [^\r]+ HTTP\/1\.1\r\n)/gm, "$1Host: a.test\r\n");
}

t.test("llhttp's cases", { skip }, async (t) => {
  let checked = 0;
  const unused = new Set(stricter.keys());
  for (const [index, { kind, title, http, error }] of load<LlhttpCase>("llhttp.json").entries()) {
    // Prose of the source file got into the message.
    if (http.includes("```")) continue;
    const text = decodeLlhttp(http);
    const isUtf8 = /[\u00c0-\uffff]/.test(http);
    const { messages, error: ours } =
      kind === "request"
        ? readRequests([Buffer.from(withHost(text), isUtf8 ? "utf8" : "latin1")])
        : readResponses([Buffer.from(text, isUtf8 ? "utf8" : "latin1")]);
    const name = `${index} ${kind} ${title}`;
    const outcome = ours === undefined ? `${messages.length} accepted` : ours.message;
    const isWhole = /\r\n\r\n/.test(text);
    if (error !== null && !elsewhere.has(error)) {
      // What ends before its head does is refused by the timer.
      t.ok(ours !== undefined || (!isWhole && messages.length === 0), `${name}: ${error}; ${outcome}`);
    } else if (error === null) {
      t.equal(ours !== undefined, stricter.has(`${kind} ${title}`), `${name}: ${outcome}`);
      unused.delete(`${kind} ${title}`);
    }
    checked++;
  }
  t.equal(unused.size, 0, `the table names existing cases only: ${[...unused].join(", ")}`);
  t.ok(checked > 170, `${checked} cases`);
});

/** Bytes that are no whole message: a matter of timers. */
const unfinished = new Set([
  "MAL-INCOMPLETE-REQUEST",
  "COMP-POST-CL-UNDERSEND",
  "COMP-CHUNKED-NO-FINAL",
  "MAL-POST-CL-HUGE-NO-BODY",
]);

t.test("Http11Probe's cases", { skip }, async (t) => {
  const cases = load<ProbeCase>("http11probe.json");
  t.equal(cases.length, 150);
  for (const { id, status, payload } of cases) {
    const { messages, error } = readRequests([decodeProbe(payload)]);
    const wanted = status === "Exact(400)" ? 400 : probeRefusals.get(id);
    t.equal(error?.row.status, wanted, `${id}: ${error?.message ?? "accepted"}`);
    if (wanted === undefined) {
      const isWhole = messages.length === 1 && messages[0]?.isComplete === true;
      t.equal(isWhole, !unfinished.has(id), `${id}: whole`);
    }
  }
});
