/** Heads by RFC 9113 §8 and the list of known attacks: what becomes of fields, what is refused, what is written. */
import fc from "fast-check";
import t from "tap";
import type { ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { ByteWriter } from "../../src/traffic/byte-writer.js";
import type { HeadOptions } from "../../src/http2/head-options.js";
import { HpackDecoder } from "../../src/http2/hpack-decoder.js";
import { HpackEncoder } from "../../src/http2/hpack-encoder.js";
import { http2Limits } from "../../src/http2/limits.js";
import { readRequestHead, writeRequestHead, type ReadRequest } from "../../src/http2/request-fields.js";
import { readResponseHead, writeResponseHead, type ReadResponse } from "../../src/http2/response-fields.js";
import { hasPseudoHeader, readTrailers, writeTrailers } from "../../src/http2/trailer-fields.js";
import type { RequestHead, ResponseHead } from "../../src/traffic/message.js";

const plain: HeadOptions = { limits: http2Limits, isMesh: false };
const mesh: HeadOptions = { limits: http2Limits, isMesh: true };

function requestHead(part: Partial<RequestHead> = {}): RequestHead {
  return { method: "GET", target: "/", authority: "a", version: "1.1", headers: [], upgrade: "", ...part };
}

function responseHead(part: Partial<ResponseHead> = {}): ResponseHead {
  return { status: 200, reason: "", version: "1.1", headers: [], ...part };
}

/** The fields of a block, as a decoder that has seen nothing before gives them. */
function written(write: (encoder: HpackEncoder, out: ByteWriter) => void): string[] {
  const out = new ByteWriter(64);
  write(new HpackEncoder(4096), out);
  const fields: string[] = [];
  const outcome = new HpackDecoder(4096).decode(out.bytes, 0, out.at, fields, 1 << 20, 1000);
  if (outcome !== "ok") throw new Error(`written as ${outcome}`);
  return fields;
}

const requestFields = (head: RequestHead, options = plain): string[] =>
  written((encoder, out) => writeRequestHead(encoder, out, head, options));
const responseFields = (head: ResponseHead, request = requestHead(), options = plain): string[] =>
  written((encoder, out) => writeResponseHead(encoder, out, head, request, options));

/** A GET with these fields. */
const get = (...fields: string[]): string[] => [
  ...[":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a", ...fields],
];

function codeOf(run: () => unknown): ErrorCode | undefined {
  try {
    run();
    return undefined;
  } catch (error: unknown) {
    if (error instanceof ProxyError) return error.code;
    throw error;
  }
}

t.test("fields become a head", async (t) => {
  const read = readRequestHead(
    [
      ...[":path", "/a?b=%20", ":scheme", "https", ":method", "POST", ":authority", "Orders.Mesh.:80"],
      ...["x-empty", "", "cookie", "a=1", "te", "trailers", "host", "orders.mesh:80", "cookie", "b=2"],
      ...["content-length", "007", "proxy-authorization", "Basic x", "cookie", "c=3", "x-latin", "caf\u00e9"],
      ...["expect", "100-continue", "accept", "a", "accept", "b", "x-remora-case", "t"],
    ],
    plain,
  );
  t.strictSame(read, {
    head: {
      method: "POST",
      target: "/a?b=%20",
      authority: "orders.mesh:80",
      version: "2",
      headers: [
        ...["host", "orders.mesh:80", "x-empty", "", "cookie", "a=1; b=2; c=3", "te", "trailers"],
        ...[
          "content-length",
          "7",
          "x-latin",
          "caf\u00e9",
          "expect",
          "100-continue",
          "accept",
          "a",
          "accept",
          "b",
        ],
      ],
      upgrade: "",
    },
    contentLength: 7,
  } satisfies ReadRequest);
});

t.test("row 49: requests that hops would read differently are refused", async (t) => {
  const target = `/${"x".repeat(http2Limits.maxTargetBytes)}`;
  const pseudo = (method: string, path: string, scheme = "http", authority = "a"): string[] => [
    ...[":method", method, ":scheme", scheme, ":path", path, ":authority", authority],
  ];
  const cases: readonly (readonly [string, string[], ErrorCode | undefined])[] = [
    ["an ordinary one", get(), undefined],
    ["host instead of :authority", [...get().slice(0, 6), "host", "a"], undefined],
    ["both alike, in other spelling", get("host", "A."), undefined],
    ["OPTIONS *", pseudo("OPTIONS", "*"), undefined],
    ["any token as method", pseudo("M-SEARCH", "/"), undefined],
    ["no :method", get().slice(2), "malformed_request"],
    ["no :scheme", [":method", "GET", ":path", "/", ":authority", "a"], "malformed_request"],
    ["no :path", [":method", "GET", ":scheme", "http", ":authority", "a"], "malformed_request"],
    ["no authority at all", get().slice(0, 6), "malformed_request"],
    ["nothing", [], "malformed_request"],
    ["two :method", [":method", "GET", ...get()], "malformed_request"],
    ["two :path", [":path", "/", ...get()], "malformed_request"],
    ["two :scheme", [":scheme", "http", ...get()], "malformed_request"],
    ["two :authority", [":authority", "a", ...get()], "malformed_request"],
    ["an unknown pseudo-header", [":foo", "x", ...get()], "malformed_request"],
    [":status in a request", [":status", "200", ...get()], "malformed_request"],
    ["a pseudo-header after a field", get("x", "y", ":path", "/admin"), "malformed_request"],
    ["space in the method", pseudo("GET /admin HTTP/1.1", "/"), "malformed_request"],
    ["an empty method", pseudo("", "/"), "malformed_request"],
    ["a lower-case method", pseudo("get", "/"), "method_not_supported"],
    ["TRACE", pseudo("TRACE", "/"), "method_not_supported"],
    ["PRI", pseudo("PRI", "/"), "malformed_request"],
    ["CONNECT", [":method", "CONNECT", ":authority", "a:443"], "method_not_supported"],
    ["scheme in upper case", pseudo("GET", "/", "HTTP"), "malformed_request"],
    ["another scheme", pseudo("GET", "/", "ftp"), "malformed_request"],
    ["an empty path", pseudo("GET", ""), "malformed_request"],
    ["a path without /", pseudo("GET", "a"), "malformed_request"],
    ["an absolute path", pseudo("GET", "http://b/"), "malformed_request"],
    ["GET *", pseudo("GET", "*"), "malformed_request"],
    ["a fragment", pseudo("GET", "/a#b"), "malformed_request"],
    ["space in the path", pseudo("GET", "/ HTTP/1.1"), "malformed_request"],
    ["tab in the path", pseudo("GET", "/\t"), "malformed_request"],
    ["obs-text in the path", pseudo("GET", "/\u00e9"), "malformed_request"],
    ["a path over the limit", pseudo("GET", target), "uri_too_long"],
    ["a path at the limit", pseudo("GET", target.slice(1).replace("x", "/")), undefined],
    ["userinfo", pseudo("GET", "/", "http", "u@a"), "malformed_request"],
    ["an empty authority", pseudo("GET", "/", "http", ""), "malformed_request"],
    ["a path in the authority", pseudo("GET", "/", "http", "a/b"), "malformed_request"],
    ["a list as authority", pseudo("GET", "/", "http", "a,b"), "malformed_request"],
    ["another host", get("host", "b"), "malformed_request"],
    ["a host with another port", get("host", "a:80"), "malformed_request"],
    ["an invalid host", get("host", "a b"), "malformed_request"],
    ["row 47: two hosts", get("host", "a", "host", "a"), "malformed_request"],
    ["connection", get("connection", "close"), "malformed_request"],
    ["keep-alive", get("keep-alive", "timeout=5"), "malformed_request"],
    ["proxy-connection", get("proxy-connection", "close"), "malformed_request"],
    ["upgrade", get("upgrade", "websocket"), "malformed_request"],
    ["transfer-encoding", get("transfer-encoding", "chunked"), "malformed_request"],
    ["its twin", get("transfer_encoding", "chunked"), "malformed_request"],
    ["http2-settings", get("http2-settings", "AAMAAABkAAQAAP__"), "malformed_request"],
    ["te: gzip", get("te", "gzip"), "malformed_request"],
    ["te: trailers and more", get("te", "trailers, gzip"), "malformed_request"],
    ["two lengths", get("content-length", "1", "content-length", "1"), "malformed_request"],
    ["a list of lengths", get("content-length", "1, 1"), "malformed_request"],
    ["a signed length", get("content-length", "+1"), "malformed_request"],
    ["an empty length", get("content-length", ""), "malformed_request"],
    ["a length over 2^53", get("content-length", "9007199254740992"), "malformed_request"],
    ["its twin", get("content_length", "1"), "malformed_request"],
    ["another expectation", get("expect", "200-ok"), "expectation_failed"],
    ["two expectations", get("expect", "100-continue", "expect", "x"), "expectation_failed"],
  ];
  for (const [name, fields, code] of cases)
    t.equal(
      codeOf(() => readRequestHead(fields, plain)),
      code,
      name,
    );
});

t.test("an extended CONNECT asks for a tunnel", async (t) => {
  const connect = (protocol: string, ...fields: string[]): string[] => [
    ...[":method", "CONNECT", ":protocol", protocol, ":scheme", "https", ":path", "/chat", ":authority", "a"],
    ...["sec-websocket-version", "13", ...fields],
  ];
  const { head, contentLength } = readRequestHead(connect("WebSocket"), plain);
  t.strictSame([head.method, head.upgrade, head.target, contentLength], ["GET", "websocket", "/chat", -1]);
  t.strictSame(head.headers, ["host", "a", "sec-websocket-version", "13"]);
  const cases: readonly (readonly [string[], ErrorCode])[] = [
    [connect("h2c"), "method_not_supported"],
    [connect("tcp"), "method_not_supported"],
    [connect("a, b"), "method_not_supported"],
    [connect(""), "method_not_supported"],
    [connect("websocket", "content-length", "0"), "malformed_request"],
    [[":protocol", "websocket", ...connect("websocket")], "malformed_request"],
    [[":protocol", "websocket", ...get()], "malformed_request"],
    [connect("websocket").slice(0, 6), "malformed_request"],
  ];
  for (const [fields, code] of cases)
    t.equal(
      codeOf(() => readRequestHead(fields, plain)),
      code,
      fields.join(),
    );

  const asked = requestHead({ upgrade: "websocket", headers: ["Host", "a", "Sec-WebSocket-Key", "x"] });
  t.strictSame(requestFields(asked), [
    ...[":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a", ":path", "/"],
    ...["sec-websocket-key", "x"],
  ]);
});

t.test("what is written of a request", async (t) => {
  const head = requestHead({
    method: "POST",
    target: "/x",
    headers: [
      ...["Host", "a", "Content-Length", "3", "TE", "Trailers", "Connection", "x", "Keep-Alive", "y"],
      ...["Transfer-Encoding", "chunked", "Upgrade", "z", "Proxy-Connection", "p", "HTTP2-Settings", "s"],
      ...["X-Remora-Case", "t,forged", "X-Remora-Status", "200", "X-Config", " padded\t", "Cookie", "c=1"],
    ],
  });
  const wanted = [
    ...[":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/x"],
    ...["content-length", "3", "te", "trailers", "x-config", "padded", "cookie", "c=1"],
  ];
  t.strictSame(requestFields(head), wanted);
  wanted[3] = "https";
  t.strictSame(requestFields(head, mesh), [...wanted, "x-remora-case", "t,TE"]);
  t.strictSame(requestFields({ ...head, version: "2" }, mesh), wanted, "no mark for what came by HTTP/2");
  const gzip = requestHead({ headers: ["te", "gzip"] });
  t.notOk(requestFields(gzip).includes("te"));
  for (const value of ["a\nb", "a\r\nb: c", "\0", "\u010a", "\u{1f600}"]) {
    t.equal(
      codeOf(() => requestFields(requestHead({ headers: ["x", value] }))),
      "internal",
    );
    t.equal(
      codeOf(() => requestFields(requestHead({ headers: [value, "x"] }))),
      "internal",
    );
    t.equal(
      codeOf(() => requestFields(requestHead({ target: `/${value}` }))),
      "internal",
    );
    t.equal(
      codeOf(() => responseFields(responseHead({ headers: ["x", value] }))),
      "internal",
    );
  }
});

t.test("responses", async (t) => {
  const read = (fields: string[], request = requestHead(), options = plain): ReadResponse =>
    readResponseHead([...fields], request, options);
  t.strictSame(read([":status", "404", "set-cookie", "a=1", "set-cookie", "b=2", "content-length", "5"]), {
    head: {
      status: 404,
      reason: "",
      version: "2",
      headers: ["set-cookie", "a=1", "set-cookie", "b=2", "content-length", "5"],
    },
    contentLength: 5,
  });
  const bad: readonly string[][] = [
    [],
    ["content-length", "0"],
    [":status", ""],
    [":status", "20"],
    [":status", "2000"],
    [":status", "099"],
    [":status", "600"],
    [":status", "2e2"],
    [":status", "0x1"],
    [":status", "101"],
    [":status", "200", ":status", "200"],
    [":status", "200", ":path", "/"],
    [":path", "/", ":status", "200"],
    [":status", "200", "x", "y", ":status", "200"],
    ...[
      "connection",
      "keep-alive",
      "proxy-connection",
      "upgrade",
      "transfer-encoding",
      "te",
      "http2-settings",
    ].map((name) => [":status", "200", name, "x"]),
    [":status", "200", "transfer_encoding", "chunked"],
    [":status", "200", "content_length", "1"],
    [":status", "200", "content-length", "1", "content-length", "1"],
    [":status", "200", "content-length", "-1"],
  ];
  for (const fields of bad)
    t.equal(
      codeOf(() => read(fields)),
      "upstream_protocol_error",
      fields.join(" "),
    );

  const length = ["content-length", "9"];
  const lengths: readonly (readonly [string, RequestHead, number, readonly string[]])[] = [
    ["200", requestHead(), 9, length],
    ["200", requestHead({ method: "HEAD" }), -1, length],
    ["304", requestHead(), -1, length],
    ["204", requestHead(), -1, []],
    ["103", requestHead(), -1, []],
  ];
  for (const [status, request, contentLength, headers] of lengths) {
    const response = read([":status", status, ...length], request);
    t.strictSame([response.contentLength, response.head.headers], [contentLength, headers], status);
  }
});

t.test("answers to a request for a tunnel", async (t) => {
  const asked = requestHead({ upgrade: "websocket" });
  const over = (status: number, options: HeadOptions): number => {
    const fields = responseFields(responseHead({ status }), asked, options);
    return readResponseHead(fields, asked, options).head.status;
  };
  for (const status of [101, 103, 200, 204, 299, 302, 403, 502])
    t.equal(over(status, mesh), status, `${status}`);
  for (const status of [101, 103, 302, 403, 502])
    t.equal(over(status, plain), status, `${status}, plaintext`);
  for (const status of [200, 204]) t.equal(over(status, plain), 502, "a 2xx would open the tunnel");
  t.strictSame(responseFields(responseHead({ status: 101 }), asked), [":status", "200"]);
  t.equal(
    codeOf(() => responseFields(responseHead({ status: 101 }))),
    "internal",
    "not asked for",
  );
  const answer = (...fields: string[]) => readResponseHead([":status", ...fields], asked, plain).head;
  t.equal(
    codeOf(() => answer("204")),
    "upstream_protocol_error",
  );
  t.strictSame(
    answer("502", "x-remora-status", "200"),
    responseHead({ status: 502, version: "2" }),
    "unread",
  );
  const forged = responseHead({ status: 502, headers: ["X-Remora-Status", "200"] });
  t.strictSame(responseFields(forged, asked, mesh), [":status", "502"]);
});

t.test("trailers", async (t) => {
  const read = readTrailers([
    ...[
      "grpc-status",
      "0",
      "content-length",
      "1",
      "x-sum",
      "a",
      "host",
      "b",
      "te",
      "trailers",
      "x-remora-case",
      "t",
    ],
    ...["transfer-encoding", "chunked", "authorization", "c", "grpc-message", ""],
  ]);
  t.strictSame(read, ["grpc-status", "0", "x-sum", "a", "grpc-message", ""]);
  t.equal(readTrailers([]), null);
  t.equal(readTrailers(["content-length", "1"]), null);
  t.ok(hasPseudoHeader(["x", "y", ":status", "200"]));
  t.notOk(hasPseudoHeader(["x", ":status"]));
  const fields = written((encoder, out) =>
    writeTrailers(encoder, out, ["Grpc-Status", "0", "Connection", "x"]),
  );
  t.strictSame(fields, ["grpc-status", "0"]);
});

/** The names of a request after a hop between sidecars. */
function afterHop(headers: string[]): string[] {
  const head = requestHead({ headers: ["Host", "a", ...headers] });
  return readRequestHead(requestFields(head, mesh), mesh).head.headers.slice(2);
}

t.test("marks of letter case", async (t) => {
  const markOf = (...names: string[]): string | undefined => {
    const fields = requestFields(requestHead({ headers: names.flatMap((name) => [name, ""]) }), mesh);
    const at = fields.indexOf("x-remora-case");
    return at < 0 ? undefined : fields[at + 1];
  };
  t.equal(markOf("host", "x-a"), undefined);
  t.equal(markOf("Host", "X-Request-Id", "Etag"), "t");
  t.equal(markOf("Host", "ETag", "X-REQUEST-ID"), "t,ETag,X-REQUEST-ID");
  t.equal(markOf("host", "x-a", "Foo"), "l,Foo");
  t.equal(markOf("Host", "X-A", "x-a", "X-A"), "t,X-A,x-a,X-A");
  t.equal(markOf("Host", ...Array.from({ length: 300 }, (_, i) => `NAME-${i}`)), undefined, "too many");

  const restored = (mark: string, options = mesh): string[] =>
    readRequestHead(get("etag", "", "x-a", "1", "x-remora-case", mark, "x-a", "2"), options).head.headers;
  const asIs = ["host", "a", "etag", "", "x-a", "1", "x-a", "2"];
  t.strictSame(restored("t"), ["Host", "a", "Etag", "", "X-A", "1", "X-A", "2"]);
  t.strictSame(restored("l,ETag"), ["host", "a", "ETag", "", "x-a", "1", "x-a", "2"]);
  t.strictSame(restored("t,X-a,x-A"), ["Host", "a", "Etag", "", "X-a", "1", "x-A", "2"]);
  t.strictSame(restored("t,other,HOST"), ["HOST", "a", "Etag", "", "X-A", "1", "X-A", "2"]);
  t.strictSame(restored("t", plain), asIs, "taken off unread on a plaintext connection");
  for (const mark of ["", "x", "T", "t,", "tETag", "t,a b", "t,a\u00e9", "l,,", `l${",ETag".repeat(500)}`]) {
    t.strictSame(restored(mark), asIs, JSON.stringify(mark).slice(0, 30));
  }
});

const anyName = fc.oneof(
  fc.constantFrom(
    "X-A",
    "x-a",
    "X-a",
    "ETag",
    "Etag",
    "etag",
    "www-Authenticate",
    "X-Request-Id",
    "__proto__",
    "1",
  ),
  fc.stringMatching(/^[A-Za-z0-9_.!-]{1,30}$/),
);
const anyHeaders = fc
  .array(anyName, { maxLength: 30 })
  .map((names) => names.flatMap((name, i) => [name, `${i}`]))
  // What a hop treats by its name.
  .filter((headers) =>
    headers.every(
      (name) => !/^(?:host|te|cookie|connection|upgrade|expect|x-remora-.*|content.length)$/i.test(name),
    ),
  );

t.test("names come out of a hop as they went in", async () => {
  fc.assert(
    fc.property(anyHeaders, (headers) => {
      if (afterHop(headers).join("\n") !== headers.join("\n")) return false;
      const response = responseFields(responseHead({ headers }), requestHead(), mesh);
      return readResponseHead(response, requestHead(), mesh).head.headers.join("\n") === headers.join("\n");
    }),
    { numRuns: 500 },
  );
});

t.test("no mark changes more than letter case", async () => {
  const marks = fc.oneof(
    fc
      .tuple(fc.constantFrom("t", "l", "x"), fc.array(fc.oneof(anyName, fc.string())))
      .map(([usual, names]) => [usual, ...names].join(",")),
    fc.string(),
  );
  fc.assert(
    fc.property(anyHeaders, marks, (headers, mark) => {
      const lower = headers.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text));
      const { head } = readRequestHead(get(...lower, "x-remora-case", mark), mesh);
      return head.headers.slice(2).join("\n").toLowerCase() === lower.join("\n");
    }),
  );
});

t.test("a head survives any hop", async () => {
  fc.assert(
    fc.property(anyHeaders, fc.boolean(), fc.constantFrom("", "websocket"), (headers, isMesh, upgrade) => {
      const options = isMesh ? mesh : plain;
      const head = requestHead({
        target: "/a?b",
        authority: "a.b:1",
        headers: ["Host", "a.b:1", ...headers],
        upgrade,
      });
      const read = readRequestHead(requestFields(head, options), options).head;
      const names = (list: readonly string[]): string =>
        list.map((text, i) => (i % 2 === 0 && !isMesh ? text.toLowerCase() : text)).join("\n");
      return (
        names(read.headers) === names(head.headers) &&
        `${read.method} ${read.target} ${read.authority} ${read.upgrade}` === `GET /a?b a.b:1 ${upgrade}`
      );
    }),
  );
});
