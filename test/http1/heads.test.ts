/** Heads by RFC 9112 and the list of known attacks: what is accepted and what it means, what is refused and how. */
import t from "tap";
import type { ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { HeadReader } from "../../src/http1/head-reader.js";
import { http1Limits } from "../../src/http1/limits.js";
import { parseRequestHead, type ParsedRequest } from "../../src/http1/request-head.js";
import { parseResponseHead, type ParsedResponse } from "../../src/http1/response-head.js";

const crlf = "\r\n";

function request(lines: string | readonly string[]): ParsedRequest {
  const list = typeof lines === "string" ? [lines] : lines;
  return parseRequestHead(list.join(crlf) + crlf + crlf, http1Limits);
}

/** A POST with these fields beside a Host. */
function post(...fields: string[]): ParsedRequest {
  return request(["POST / HTTP/1.1", "Host: a", ...fields]);
}

function response(lines: readonly string[], method = "GET"): ParsedResponse {
  return parseResponseHead(lines.join(crlf) + crlf + crlf, method, http1Limits);
}

function codeOf(run: () => unknown): ErrorCode | undefined {
  try {
    run();
    return undefined;
  } catch (error: unknown) {
    if (error instanceof ProxyError) return error.code;
    throw error;
  }
}

t.test("a request head becomes facts and end-to-end fields, bytes unchanged", async (t) => {
  const { head, framing, keepAlive, expectsContinue } = request([
    "POST /a?b=%20 HTTP/1.1",
    "HOST: Orders.Mesh:80",
    "x-CASE:  spaced  value\t ",
    "Empty:",
    "Cookie: a=1",
    "Cookie: b=2",
    "__proto__: x",
    "X-Latin: caf\u00e9",
    "Content-Length: 5",
    "Connection: keep-alive",
  ]);
  t.strictSame(head, {
    method: "POST",
    target: "/a?b=%20",
    authority: "orders.mesh:80",
    version: "1.1",
    headers: [
      ...["HOST", "orders.mesh:80", "x-CASE", "spaced  value", "Empty", "", "Cookie", "a=1", "Cookie", "b=2"],
      ...["__proto__", "x", "X-Latin", "caf\u00e9", "Content-Length", "5"],
    ],
    upgrade: "",
  });
  t.strictSame(framing, { kind: "length", length: 5 });
  t.strictSame([keepAlive, expectsContinue], [true, false]);
});

t.test("request lines", async (t) => {
  const cases: readonly (readonly [string, ErrorCode | undefined])[] = [
    ["GET / HTTP/1.1", undefined],
    ["PURGE /x HTTP/1.1", undefined],
    ["OPTIONS * HTTP/1.1", undefined],
    ['GET /"<>\\^`{|} HTTP/1.1', undefined],
    ["GET * HTTP/1.1", "malformed_request"],
    ["GET  / HTTP/1.1", "malformed_request"],
    [" GET / HTTP/1.1", "malformed_request"],
    ["GET / HTTP/1.1 ", "malformed_request"],
    ["GET /  HTTP/1.1", "malformed_request"],
    ["GET\t/ HTTP/1.1", "malformed_request"],
    ["GET /a b HTTP/1.1", "malformed_request"],
    ["GET /a#b HTTP/1.1", "malformed_request"],
    ["GET /\0 HTTP/1.1", "malformed_request"],
    ["GET /\x7f HTTP/1.1", "malformed_request"],
    ["GET /\u00e9 HTTP/1.1", "malformed_request"],
    ["GET /\r HTTP/1.1", "malformed_request"],
    ["GET /\n HTTP/1.1", "malformed_request"],
    ["GET HTTP/1.1", "malformed_request"],
    ["GET /", "malformed_request"],
    ["GET", "malformed_request"],
    ["", "malformed_request"],
    ["G(T / HTTP/1.1", "malformed_request"],
    ["GET a HTTP/1.1", "malformed_request"],
    ["GET / http/1.1", "malformed_request"],
    ["GET / HTTP/1.10", "malformed_request"],
    ["GET / HTTP/01.1", "malformed_request"],
    ["GET / HTTP/1,1", "malformed_request"],
    ["GET / HTTP/1.1\rX: y", "malformed_request"],
    ["GET / HTTP/0.9", "version_not_supported"],
    ["GET / HTTP/1.2", "version_not_supported"],
    ["GET / HTTP/2.0", "version_not_supported"],
    ["PRI * HTTP/2.0", "version_not_supported"],
    ["PRI * HTTP/1.1", "malformed_request"],
    ["CONNECT a:443 HTTP/1.1", "method_not_supported"],
    ["TRACE / HTTP/1.1", "method_not_supported"],
    ["get / HTTP/1.1", "method_not_supported"],
    [`${"M".repeat(33)} / HTTP/1.1`, "method_not_supported"],
    [`GET /${"x".repeat(http1Limits.maxTargetBytes - 1)} HTTP/1.1`, undefined],
    [`GET /${"x".repeat(http1Limits.maxTargetBytes)} HTTP/1.1`, "uri_too_long"],
  ];
  for (const [line, code] of cases) {
    t.equal(
      codeOf(() => request([line, "Host: a"])),
      code,
      JSON.stringify(line.slice(0, 40)),
    );
  }
});

t.test("one authority: the target's over Host's, one Host field equal to it", async (t) => {
  const cases: readonly (readonly [line: string, fields: string[], wanted: readonly string[] | ErrorCode])[] =
    [
      ["GET / HTTP/1.1", ["Host: A.b."], ["/", "a.b", "Host: a.b"]],
      ["GET http://X.y/p?q HTTP/1.1", ["Host: other"], ["/p?q", "x.y", "Host: x.y"]],
      ["GET HTTPS://x:443 HTTP/1.1", ["a: b", "Host: other"], ["/", "x:443", "a: b", "Host: x:443"]],
      ["GET http://x?q=/ HTTP/1.1", ["Host: x"], ["/?q=/", "x", "Host: x"]],
      ["GET http://x//y HTTP/1.1", ["Host: x"], ["//y", "x", "Host: x"]],
      ["OPTIONS http://x HTTP/1.1", ["Host: x"], ["*", "x", "Host: x"]],
      ["GET / HTTP/1.0", [], ["/", ""]],
      ["GET http://x/ HTTP/1.0", ["a: b"], ["/", "x", "Host: x", "a: b"]],
      ["GET //host/admin HTTP/1.1", ["Host: x"], ["//host/admin", "x", "Host: x"]],
      ["GET / HTTP/1.1", [], "malformed_request"],
      ["GET http://x/ HTTP/1.1", [], "malformed_request"],
      ["GET http://x/ HTTP/1.1", ["Host: a,b"], "malformed_request"],
      ["GET http://u@x/ HTTP/1.1", ["Host: x"], "malformed_request"],
      ["GET http:///p HTTP/1.1", ["Host: x"], "malformed_request"],
      ["GET ftp://x/ HTTP/1.1", ["Host: x"], "malformed_request"],
      ["GET http:/x HTTP/1.1", ["Host: x"], "malformed_request"],
      ["GET x:80 HTTP/1.1", ["Host: x"], "malformed_request"],
      ["GET / HTTP/1.1", ["Host: x", "Host: x"], "malformed_request"],
      ["GET / HTTP/1.1", ["Host: x", "hOST: y"], "malformed_request"],
      ["GET / HTTP/1.1", ["Host:"], "malformed_request"],
      ["GET / HTTP/1.0", ["Host: u@x"], "malformed_request"],
    ];
  for (const [line, fields, wanted] of cases) {
    let got: readonly string[] | ErrorCode | undefined;
    const code = codeOf(() => {
      const { head } = request([line, ...fields]);
      const pairs = head.headers
        .filter((_, i) => i % 2 === 0)
        .map((name, i) => `${name}: ${head.headers[2 * i + 1]}`);
      got = [head.target, head.authority, ...pairs];
    });
    t.strictSame(code ?? got, wanted, `${line} ${fields.join(" | ")}`);
  }
});

t.test("field lines that parsers disagree about are refused", async (t) => {
  const refused = [
    ...[
      "X : y",
      "X\t: y",
      " X: y",
      "\tX: y",
      ": y",
      ":",
      "X",
      "X y: z",
      "X\0: y",
      "X\x0b: y",
      "\u00e9: y",
      "X(: y",
    ],
    ...["X: a\0b", "X: a\x01", "X: a\x7f", "X: \x1b[0m", "X: a\x0bb"],
    ...[
      "X: a\r\n b",
      "X:\r\n\tb",
      "X: a\rb",
      "X: a\nb",
      "X: a\n",
      "X: a\r",
      "X: a\r\r",
      "\r",
      "X: a\r\n\rX: b",
      "X: a\n\nb",
    ],
    ...["Content_Length: 5", "TRANSFER_ENCODING: chunked"],
  ];
  for (const field of refused) {
    t.equal(
      codeOf(() => post(field)),
      "malformed_request",
      JSON.stringify(field),
    );
    const wanted = /^(?:content_|transfer_)/i.test(field) ? undefined : "upstream_protocol_error";
    if (wanted !== undefined)
      t.equal(
        codeOf(() => response(["HTTP/1.1 204 x", field])),
        wanted,
      );
  }
  t.equal(
    codeOf(() => parseRequestHead("GET / HTTP/1.1\r\nHost: a\r\n\r\nx", http1Limits)),
    "malformed_request",
  );
  t.equal(
    codeOf(() => parseRequestHead("GET / HTTP/1.1\r\nHost: a\r\n", http1Limits)),
    "malformed_request",
  );
});

t.test("request framing", async (t) => {
  const none = { kind: "none", length: 0 };
  const cases: readonly (readonly [fields: readonly string[], wanted: object | ErrorCode])[] = [
    [[], none],
    [["Content-Length: 0"], none],
    [["content-length:5"], { kind: "length", length: 5 }],
    [["Content-Length: 9007199254740991"], { kind: "length", length: Number.MAX_SAFE_INTEGER }],
    [["Transfer-Encoding: chunked"], { kind: "chunked", length: -1 }],
    [["Transfer-Encoding:\tChunked "], { kind: "chunked", length: -1 }],
    [["Transfer-Encoding: gzip"], "transfer_coding_not_supported"],
    [["Content-Length: 9007199254740992"], "malformed_request"],
    [["Content-Length: 18446744073709551621"], "malformed_request"],
    [["Content-Length: 00000000000000005"], "malformed_request"],
    ...["", "+5", "-0", "-5", "0x5", "5_0", "5, 5", "5 5", "5;", "5.0", "1e3", "\u00b2"].map(
      (value) => [[`Content-Length: ${value}`], "malformed_request"] as const,
    ),
    [["Content-Length: 5", "Content-Length: 5"], "malformed_request"],
    [["Content-Length: 5", "Content-Length: 6"], "malformed_request"],
    [["Content-Length: 5", "Transfer-Encoding: chunked"], "malformed_request"],
    [["Transfer-Encoding: chunked", "Content-Length: 0"], "malformed_request"],
    [["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], "malformed_request"],
    ...[
      ...["", "chunked, cow", "cow, chunked", "xchunked", ",chunked", "chunked,", '"chunked"', "chunked;a=b"],
      ...["identity", "chunked chunked", "gzip, chunked", "chunked, chunked", "chun\u212aed"],
    ].map((value) => [[`Transfer-Encoding: ${value}`], "malformed_request"] as const),
    [["Transfer-Encoding: \x0bchunked"], "malformed_request"],
  ];
  for (const [fields, wanted] of cases) {
    let framing: object | undefined;
    const code = codeOf(() => (framing = post(...fields).framing));
    t.strictSame(code ?? framing, wanted, fields.join(" | "));
  }
  t.strictSame(
    post("Content-Length: 005").head.headers.slice(2),
    ["Content-Length", "5"],
    "no leading zeros go on",
  );
  const old = (method: string, ...fields: string[]) =>
    codeOf(() => request([`${method} / HTTP/1.0`, ...fields]));
  t.equal(old("POST", "Transfer-Encoding: chunked"), "malformed_request");
  t.equal(old("POST"), "malformed_request", "the body would end by closing");
  t.equal(old("POST", "Content-Length: 5"), undefined);
  t.equal(old("GET"), undefined);
});

t.test("persistence, expectations and upgrades", async (t) => {
  const facts = ({ keepAlive, expectsContinue, head }: ParsedRequest) => [
    keepAlive,
    expectsContinue,
    head.upgrade,
  ];
  const cases: readonly (readonly [readonly string[], unknown])[] = [
    [
      ["POST / HTTP/1.1", "Host: a", "Connection: close"],
      [false, false, ""],
    ],
    [
      ["POST / HTTP/1.1", "Host: a", "Connection: keep-alive, CLOSE"],
      [false, false, ""],
    ],
    [["GET / HTTP/1.0"], [false, false, ""]],
    [
      ["GET / HTTP/1.0", "Connection: Keep-Alive"],
      [true, false, ""],
    ],
    [
      ["POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Expect: 100-Continue"],
      [true, true, ""],
    ],
    [
      ["POST / HTTP/1.1", "Host: a", "Content-Length: 0", "Expect: 100-continue"],
      [true, false, ""],
    ],
    [
      ["GET / HTTP/1.0", "Expect: 100-continue"],
      [false, false, ""],
    ],
    [
      ["GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: WebSocket"],
      [true, false, "websocket"],
    ],
    [
      ["GET / HTTP/1.1", "Host: a", "Connection: keep-alive, Upgrade", "Upgrade: foo/1"],
      [true, false, "foo/1"],
    ],
    [
      ["GET / HTTP/1.1", "Host: a", "Upgrade: websocket"],
      [true, false, ""],
    ],
    [
      ["GET / HTTP/1.0", "Host: a", "Connection: upgrade", "Upgrade: websocket"],
      [false, false, ""],
    ],
    ...["h2c", "H2", "HTTP/2.0", "TLS/1.0", "websocket, h2c", "", "a b"].map(
      (name) =>
        [
          ["GET / HTTP/1.1", "Host: a", "Connection: upgrade", `Upgrade: ${name}`],
          [true, false, ""],
        ] as const,
    ),
    [
      ["GET / HTTP/1.1", "Host: a", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 1"],
      [true, false, ""],
    ],
    [["GET / HTTP/1.1", "Host: a", "Expect: 200-ok"], "expectation_failed"],
    [["GET / HTTP/1.1", "Host: a", "Expect:"], "expectation_failed"],
    [["GET / HTTP/1.1", "Host: a", "Expect: 100-continue", "Expect: 100-continue"], "expectation_failed"],
  ];
  for (const [lines, wanted] of cases) {
    let got: unknown;
    const code = codeOf(() => (got = facts(request(lines))));
    t.strictSame(code ?? got, wanted, lines.join(" | "));
  }
  const kept = post("Content-Length: 1", "Expect: 100-continue").head.headers;
  t.ok(kept.includes("Expect"), "the application may want to answer it");
  t.notOk(post("Expect: 100-continue").head.headers.includes("Expect"), "not without a body");
  const old = request(["POST / HTTP/1.0", "Content-Length: 1", "Expect: 200-ok", "Host: a"]);
  t.strictSame(old.head.headers, ["Content-Length", "1", "Host", "a"], "HTTP/1.0 cannot expect anything");
});

t.test("hop-by-hop fields end here, nominated ones too, protected ones never", async (t) => {
  const { head } = post(
    "Keep-Alive: timeout=5",
    "Connection: close, X-Private ,, x-forwarded-for, Authorization, HOST, content-length, x-remora-identity, te",
    "connection: X-Other",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic x",
    "X-Private: 1",
    "Authorization: Bearer x",
    "X-Forwarded-For: 10.0.0.1",
    "x-remora-identity: y",
    "x-other: 2",
    "X-PRIVATE: 3",
    "TE: Trailers",
    "TE: gzip",
    "Trailer: X-Sum",
    "Upgrade: h2c",
    "HTTP2-Settings: AAM",
    "Content-Length: 5",
  );
  t.strictSame(head.headers, [
    ...["Host", "a", "Authorization", "Bearer x", "X-Forwarded-For", "10.0.0.1", "x-remora-identity", "y"],
    ...["TE", "trailers", "Trailer", "X-Sum", "Content-Length", "5"],
  ]);
  const moved = request(["GET http://b/ HTTP/1.1", "Connection: x-first", "X-First: 1", "Host: a"]).head;
  t.strictSame(moved.headers, ["Host", "b"], "Host is found after others went");
  t.equal(
    codeOf(() => post(`Connection: ${"a,".repeat(70)}`)),
    "malformed_request",
  );
});

t.test("limits are refusals, never silent losses", async (t) => {
  const many = (count: number) => Array.from({ length: count }, (_, i) => `X-${i}: y`);
  const { maxHeaders } = http1Limits;
  t.equal(post(...many(maxHeaders - 1)).head.headers.length, 2 * maxHeaders);
  t.equal(
    codeOf(() => post(...many(maxHeaders))),
    "request_headers_too_large",
  );
  t.equal(
    codeOf(() => request(["POST / HTTP/1.1", ...many(maxHeaders), "Host: a", "Content-Length: 5"])),
    "request_headers_too_large",
  );
  t.equal(
    codeOf(() => response(["HTTP/1.1 200 OK", ...many(maxHeaders + 1)])),
    "upstream_headers_too_large",
  );
});

t.test("status lines", async (t) => {
  for (const line of [
    "HTTP/1.1 200 OK",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 200",
    "HTTP/1.1 200 ",
    "HTTP/1.1 599 a\tb\u00e9",
  ]) {
    t.equal(
      codeOf(() => response([line])),
      undefined,
      line,
    );
  }
  t.match(response(["HTTP/1.1 404  not  here"]).head, { status: 404, reason: " not  here", version: "1.1" });
  const bad = [
    ...[
      "HTTP/2.0 200 OK",
      "HTTP/1.2 200 OK",
      "HTTP/0.9 200 OK",
      "HTTP/1.1  200 OK",
      "HTTP/1.1 20 OK",
      "HTTP/1.1 2000 OK",
    ],
    ...[
      "HTTP/1.1 099 x",
      "HTTP/1.1 600 x",
      "HTTP/1.1 2x0 x",
      "HTTP/1.1",
      "ICY 200 OK",
      "http/1.1 200 OK",
      "<html>",
      "",
    ],
    ...["HTTP/1.1 200 a\0", "HTTP/1.1 200 a\rb", "HTTP/1.1 200 a\nb", "HTTP/1.1\t200 OK", "HTTP/1.1 200\tOK"],
  ];
  for (const line of bad)
    t.equal(
      codeOf(() => response([line])),
      "upstream_protocol_error",
      JSON.stringify(line),
    );
});

t.test("response framing and persistence", async (t) => {
  const cases: readonly (readonly [lines: string[], wanted: unknown, method?: string])[] = [
    [
      ["HTTP/1.1 200 OK", "Content-Length: 5"],
      ["length", 5, true],
    ],
    [
      ["HTTP/1.1 200 OK", "Content-Length: 0"],
      ["none", 0, true],
    ],
    [
      ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked"],
      ["chunked", -1, true],
    ],
    [["HTTP/1.1 200 OK"], ["until-close", -1, false]],
    [
      ["HTTP/1.0 200 OK", "Connection: keep-alive"],
      ["until-close", -1, false],
    ],
    [
      ["HTTP/1.0 200 OK", "Content-Length: 5"],
      ["length", 5, false],
    ],
    [
      ["HTTP/1.0 200 OK", "Content-Length: 5", "Connection: keep-alive"],
      ["length", 5, true],
    ],
    [
      ["HTTP/1.1 200 OK", "Content-Length: 5", "Connection: close"],
      ["length", 5, false],
    ],
    [["HTTP/1.1 200 OK", "Content-Length: 5"], ["none", 0, true], "HEAD"],
    [["HTTP/1.1 200 OK", "Transfer-Encoding: chunked"], ["none", 0, true], "HEAD"],
    [["HTTP/1.1 200 OK"], ["none", 0, true], "HEAD"],
    [
      ["HTTP/1.1 304 Not Modified", "Content-Length: 5"],
      ["none", 0, true],
    ],
    [
      ["HTTP/1.1 204 No Content", "Content-Length: 5"],
      ["none", 0, true],
    ],
    [["HTTP/1.1 100 Continue"], ["none", 0, true]],
    [
      ["HTTP/1.1 103 Early Hints", "Link: x"],
      ["none", 0, true],
    ],
    [
      ["HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"],
      ["none", 0, false],
    ],
    [["HTTP/1.1 200 OK", "Content-Length: 5", "Transfer-Encoding: chunked"], "upstream_protocol_error"],
    [["HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 5"], "upstream_protocol_error"],
    [["HTTP/1.1 304 x", "Content-Length: 5", "Transfer-Encoding: chunked"], "upstream_protocol_error"],
    [["HTTP/1.1 200 OK", "Content-Length: x"], "upstream_protocol_error", "HEAD"],
    [["HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked"], "upstream_protocol_error"],
    [["HTTP/1.1 200 OK", "Transfer-Encoding: identity"], "upstream_protocol_error"],
    [["HTTP/1.0 200 OK", "Transfer-Encoding: chunked"], "upstream_protocol_error"],
  ];
  for (const [lines, wanted, method] of cases) {
    let got: unknown;
    const code = codeOf(() => {
      const { framing, keepAlive } = response(lines, method);
      got = [framing.kind, framing.length, keepAlive];
    });
    t.strictSame(code ?? got, wanted, `${method ?? ""} ${lines.join(" | ")}`);
  }
  t.strictSame(response(["HTTP/1.1 204 x", "A: b", "Content-Length: 5", "C: d"]).head.headers, [
    "A",
    "b",
    "C",
    "d",
  ]);
  t.strictSame(response(["HTTP/1.1 304 x", "Content-Length: 5"]).head.headers, ["Content-Length", "5"]);
  const switched = response([
    "HTTP/1.1 101 x",
    "Connection: Upgrade, X-A",
    "Upgrade: WebSocket",
    "X-A: 1",
    "B: c",
  ]);
  t.equal(switched.upgrade, "websocket");
  t.strictSame(switched.head.headers, ["B", "c"]);
  t.equal(
    response(["HTTP/1.1 200 OK", "Connection: Upgrade", "Upgrade: h2c"]).upgrade,
    "",
    "only a 101 switches",
  );
});

t.test("the upstream's idle timeout is a hint in milliseconds", async (t) => {
  const cases: readonly (readonly [string, number])[] = [
    ["timeout=5", 5000],
    ["max=100, Timeout=15", 15000],
    ['timeout = "7"', 7000],
    ["timeout=0", 0],
    ["timeout=999999999", 86_400_000],
    ["max=5", -1],
    ["xtimeout=5", -1],
    ["timeout=", -1],
    ["", -1],
  ];
  for (const [value, wanted] of cases) {
    t.equal(response(["HTTP/1.1 204 x", `Keep-Alive: ${value}`]).keepAliveTimeoutMs, wanted, value);
  }
  t.equal(response(["HTTP/1.1 204 x"]).keepAliveTimeoutMs, -1);
});

t.test("the head reader finds heads in slices and stops at its limits", async (t) => {
  const head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const reader = new HeadReader(http1Limits, "request");
  const both = Buffer.from(`\r\n${head}\r\n\r\n${head}`);
  const first = reader.push(both, 0);
  t.equal(first, 2 + head.length);
  t.equal(reader.text, head);
  t.ok(reader.isEmpty);
  t.equal(reader.push(both, first), both.length);
  t.equal(reader.text, head);

  let end = -1;
  for (const byte of Buffer.from(head)) {
    t.equal(end, -1);
    end = reader.push(Buffer.of(byte), 0);
    t.equal(reader.isEmpty, end === 1);
  }
  t.equal(end, 1);
  t.equal(reader.text, head);

  reader.push(Buffer.from("GET /left"), 0);
  t.notOk(reader.isEmpty);
  reader.reset();
  t.ok(reader.isEmpty);
  t.equal(reader.push(Buffer.from(`\r`), 0), -1);
  t.ok(reader.isEmpty, "empty lines are nothing yet");
  t.equal(reader.push(Buffer.from(`\n${head}`), 0), 1 + head.length);
});

t.test("the head reader gives up on what cannot become a head", async (t) => {
  const { maxHeadBytes, maxTargetBytes } = http1Limits;
  const fill = (size: number) => "x".repeat(size);
  const cases: readonly (readonly [
    bytes: string,
    request: ErrorCode | undefined,
    response: ErrorCode | undefined,
  ])[] = [
    ["\x16\x03\x01\x02", "malformed_request", "upstream_protocol_error"],
    ["\0", "malformed_request", "upstream_protocol_error"],
    [" GET", "malformed_request", "upstream_protocol_error"],
    ["\nGET", "malformed_request", "upstream_protocol_error"],
    ["\r\rGET", "malformed_request", "upstream_protocol_error"],
    ["\r\n\r\n\r\n", "malformed_request", "upstream_protocol_error"],
    ["*1\r\n$4\r\n", "malformed_request", "upstream_protocol_error"],
    ["220 mail.test ESMTP\r\n", "malformed_request", "upstream_protocol_error"],
    ["*1", undefined, undefined],
    ["GET / HTTP/1.1\nHost: a\n\n", "malformed_request", "upstream_protocol_error"],
    ["GET / HTTP/1.1\r\nX: a\rb", "malformed_request", "upstream_protocol_error"],
    ["GET / HTTP/1.1\r\nX: a\0", "malformed_request", "upstream_protocol_error"],
    ["GET / HTTP/1.1\r\nHost: a", undefined, undefined],
    [`GET /${fill(maxTargetBytes)}`, undefined, undefined],
    [`GET /${fill(maxHeadBytes)}`, "uri_too_long", "upstream_headers_too_large"],
    [`GET / HTTP/1.1\r\nX: ${fill(maxHeadBytes)}`, "request_headers_too_large", "upstream_headers_too_large"],
    [
      `GET / HTTP/1.1\r\nX: ${fill(maxHeadBytes)}\r\n\r\n`,
      "request_headers_too_large",
      "upstream_headers_too_large",
    ],
  ];
  for (const [text, ...wanted] of cases) {
    for (const [i, kind] of (["request", "response"] as const).entries()) {
      const bytes = kind === "request" ? text : text.replace("GET / HTTP/1.1", "HTTP/1.1 200 OK");
      for (const size of bytes.length < 100 ? [1, 7, bytes.length] : [1000, bytes.length]) {
        const reader = new HeadReader(http1Limits, kind);
        const code = codeOf(() => {
          for (let at = 0; at < bytes.length; at += size) {
            t.equal(reader.push(Buffer.from(bytes.slice(at, at + size), "latin1"), 0), -1);
          }
        });
        t.equal(code, wanted[i], `${kind} ${JSON.stringify(bytes.slice(0, 30))} by ${size}`);
      }
    }
  }
  for (const [start, told] of [
    [[0, 0, 18, 4], /begins like HTTP\/2/],
    [[22, 3, 1], /begins like TLS/],
    [[21, 3, 3], /begins like TLS/],
  ] as const) {
    for (const kind of ["request", "response"] as const) {
      const reader = new HeadReader(http1Limits, kind);
      t.throws(() => reader.push(Buffer.from(start), 0), told, kind);
    }
  }
  const exact = "GET / HTTP/1.1\r\nX: ";
  const whole = exact + fill(maxHeadBytes - exact.length - 4) + "\r\n\r\n";
  t.equal(new HeadReader(http1Limits, "request").push(Buffer.from(whole), 0), maxHeadBytes);
  const reader = new HeadReader(http1Limits, "request");
  t.equal(reader.push(Buffer.from(whole.slice(0, -1)), 0), -1);
  t.equal(reader.push(Buffer.from("\n"), 0), 1, "exactly at the limit, in two slices");
});
