/** What a gRPC message tells about itself: kind, deadline, status. */
import fc from "fast-check";
import t from "tap";
import { WatchedGrpcBody } from "../../src/traffic/grpc-response.js";
import { formatGrpcTimeout, parseGrpcTimeout } from "../../src/traffic/grpc-timeout.js";
import { grpcStatusOf, grpcStatusOfHttp, isGrpc, isGrpcServerFault } from "../../src/traffic/grpc.js";
import { ScriptedSink, ScriptedSource, scriptedError } from "../support/scripted-body.js";

t.test("grpc-timeout: read, written, and refused", async (t) => {
  const read: [string, number | undefined][] = [
    ["1S", 1000],
    ["0n", 0],
    ["00000001M", 60_000],
    ["2H", 7_200_000],
    ["250m", 250],
    ["1100001u", 1100.001],
    ["1n", 1e-6],
    ["99999999H", 99_999_999 * 3_600_000],
    ["100000000n", undefined],
    ["1s", undefined],
    ["S", undefined],
    ["1", undefined],
    ["-1S", undefined],
    ["+1S", undefined],
    ["1.5S", undefined],
    [" 1S", undefined],
    ["1S ", undefined],
    ["1 S", undefined],
    ["1S,1S", undefined],
    ["\u0661S", undefined],
    ["", undefined],
  ];
  for (const [text, ms] of read) t.equal(parseGrpcTimeout(text), ms, JSON.stringify(text));
  const written: [number, string][] = [
    [1e-6, "1n"],
    [0, "1n"],
    [-5, "1n"],
    [0.25, "250000n"],
    [99.999_999, "99999999n"],
    [100, "100000u"],
    [99_999.9999, "99999999u"],
    [100_000, "100000m"],
    [100_000_000, "100000S"],
    [99_999_999 * 1000 + 59_999, "1666667M"],
    [1e17, "99999999H"],
  ];
  for (const [ms, text] of written) t.equal(formatGrpcTimeout(ms), text, String(ms));
});

t.test("a timeout passed on is never longer than what is left, and hardly shorter", async () => {
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: 3e14, noNaN: true }), (ms) => {
      const read = parseGrpcTimeout(formatGrpcTimeout(ms)) ?? NaN;
      return read <= ms * (1 + 1e-12) && read >= ms * (1 - 1e-3) - 1e-6;
    }),
  );
});

t.test("what is gRPC, and how a call ended", async (t) => {
  const types: [string, boolean][] = [
    ["application/grpc", true],
    ["application/grpc+proto", true],
    ["Application/gRPC; charset=x", true],
    ["application/grpc-web", false],
    ["application/grpcx", false],
    ["application/json", false],
  ];
  for (const [type, expected] of types) t.equal(isGrpc(["a", "b", "Content-Type", type]), expected, type);
  t.notOk(isGrpc([]));
  const statuses = ["0", "16", "17", "-1", "007", " 0", "", "OK"].map((text) =>
    grpcStatusOf(["grpc-status", text]),
  );
  t.same(statuses, [0, 16, undefined, undefined, undefined, undefined, undefined, undefined]);
  t.same([200, 302, 400, 401, 403, 404, 429, 500, 502, 503, 504].map(grpcStatusOfHttp), [
    ...[2, 2, 13, 16, 7, 12, 14, 2, 14, 14, 14],
  ]);
  const faults = Array.from({ length: 17 }, (_, status) => status).filter(isGrpcServerFault);
  t.same(faults, [2, 4, 13, 14, 15]);
  t.notOk(isGrpcServerFault(-1));
});

t.test("a watched body passes everything on, and tells its listener first", async (t) => {
  const log: unknown[] = [];
  const listener = {
    grpcMessage: () => void log.push("message"),
    grpcTrailers: (trailers: readonly string[] | null) => void log.push(trailers, sink.isEnded),
  };
  const source = new ScriptedSource(-1, ["grpc-status", "5"]);
  const body = new WatchedGrpcBody(source, listener);
  const sink = new ScriptedSink();
  sink.room = 1;
  body.attach(sink);
  t.same(log, []);
  source.arrive(Buffer.from("a"), Buffer.from("b"), "end");
  t.ok(source.isPaused, "full is full");
  sink.room = 5;
  body.resume();
  t.equal(sink.bytes.toString(), "ab");
  t.same(sink.trailers, ["grpc-status", "5"]);
  t.same(log, ["message", ["grpc-status", "5"], false]);

  const cut = new ScriptedSource(7);
  const cutBody = new WatchedGrpcBody(cut, listener);
  const cutSink = new ScriptedSink();
  t.equal(cutBody.length, 7);
  cutBody.attach(cutSink);
  cut.fail(scriptedError);
  t.equal(cutSink.failedWith, scriptedError);
  cutBody.cancel(scriptedError);
  t.equal(cut.cancelledWith, scriptedError);
  t.equal(log.length, 3, "neither is an outcome that the server told");
});
