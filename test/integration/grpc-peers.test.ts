// # runs beside others
/** The gRPC peers of the other tests against each other, without a mesh: what they show through it is then the mesh's doing. */
import { createHash } from "node:crypto";
import t from "tap";
import { eventually } from "../support/eventually.js";
import { GrpcEchoClient, GrpcEchoServer, patternOf, type EchoMethod } from "../support/grpc-peers.js";
import { PythonEchoServer, pythonCalls, skipWithoutPythonGrpc } from "../support/python-grpc-peer.js";

const skip = skipWithoutPythonGrpc();
const methods: readonly EchoMethod[] = ["Unary", "ServerStream", "ClientStream", "Duplex"];
const sent = ["one", "two", "three"].map((text) => Buffer.from(text));

async function servers() {
  return {
    js: await GrpcEchoServer.start(),
    ...(skip === false ? { python: await PythonEchoServer.start() } : {}),
  };
}

t.test("grpc-js client: every kind of call, wish and end, with both servers", async (t) => {
  const { js, python } = await servers();
  t.teardown(async () => {
    js.close();
    await python?.close();
  });
  for (const [name, server] of Object.entries({ js, ...(python === undefined ? {} : { python }) })) {
    const client = new GrpcEchoClient(server.address);
    t.teardown(() => client.close());
    const summary = `3 11 ${createHash("sha256").update("onetwothree").digest("hex")}`;
    const replies = { Unary: "one", ServerStream: "one", ClientStream: summary, Duplex: "one,two,three" };
    for (const method of methods) {
      const ok = await client.call(method, sent, {
        metadata: { "echo-a": "b", "echo-x-bin": Buffer.from([0, 255]), "trail-c": "d" },
        deadlineMs: 20_000,
        isInStep: true,
      });
      t.same([ok.status, ok.messages.join()], [0, replies[method]], `${name} ${method}`);
      t.same(ok.headers?.get("echo-a"), ["b"]);
      t.same(ok.headers?.get("echo-x-bin"), [Buffer.from([0, 255])]);
      t.same(ok.trailers.get("trail-c"), ["d"]);
      const seenMs = Number(ok.trailers.get("seen-deadline-ms")[0]);
      t.ok(seenMs > 10_000 && seenMs <= 20_001, `the server saw a deadline of ${seenMs} ms`);

      const bad = await client.call(method, sent, {
        metadata: {
          "want-status": "8",
          "want-message": "too much: 100 %",
          "want-pushback": "7",
          "trail-c": "d",
        },
      });
      t.match(bad, { status: 8, details: "too much: 100 %" }, `${name} ${method}`);
      t.same(bad.trailers.get("trail-c"), ["d"]);
      t.same(bad.trailers.get("grpc-retry-pushback-ms"), ["7"]);
      t.same(bad.trailers.get("seen-deadline-ms"), [], "no deadline, none seen");

      const late = await client.call(method, sent, { metadata: { "want-silence": "1" }, deadlineMs: 100 });
      t.equal(late.status, 4, `${name} ${method}: deadline exceeded`);
    }
    await eventually("four calls were cancelled", () => {
      const cancelled = server.calls.filter(({ outcome }) => outcome === "cancelled");
      return cancelled.length === methods.length;
    });

    const stream = await client.call("ServerStream", [], {
      metadata: { "want-count": "50", "want-size": "70000", "want-status": "13" },
    });
    t.match([stream.status, stream.messages.length], [13, 50], "messages first, then the status");
    t.ok(stream.messages.every((message) => message.equals(patternOf(70_000))));

    const gone = await client.call("ServerStream", [], {
      metadata: { "want-count": "100000", "want-size": "1000" },
      cancelAfter: 3,
    });
    t.equal(gone.status, 1);
    await eventually(
      "the cancel was seen",
      () => server.calls.filter(({ outcome }) => outcome === "cancelled").length === 5,
    );

    const metadata = { "want-status": "14", "fail-first": "2", "call-key": "k" };
    const statuses = [];
    for (let i = 0; i < 3; i++) statuses.push((await client.call("Unary", sent, { metadata })).status);
    t.same(statuses, [14, 14, 0], "only the first calls fail");
  }
});

t.test("Python client: every kind of call and end", { skip }, async (t) => {
  const server = await GrpcEchoServer.start();
  t.teardown(() => server.close());
  const messages = ["one", "two", "three"];
  for (const method of methods) {
    const [ok] = await pythonCalls(server.address, method, {
      messages,
      metadata: { "echo-a": "b", "trail-x-bin": "AP8=" },
      deadlineMs: 20_000,
    });
    t.match(
      ok,
      {
        status: 0,
        count: method === "Duplex" ? 3 : 1,
        headers: { "echo-a": "b" },
        trailers: { "trail-x-bin": "AP8=" },
      },
      method,
    );
    t.ok((server.calls.at(-1)?.deadlineMs ?? 0) > 10_000);
  }
  const bad = await pythonCalls(server.address, "Duplex", {
    messages,
    metadata: { "want-status": "5", "want-message": "no such thing" },
    repeat: 2,
  });
  t.match(
    bad,
    [0, 1].map(() => ({ status: 5, details: "no such thing", count: 3, bytes: 11 })),
  );
  const [late] = await pythonCalls(server.address, "Unary", {
    metadata: { "want-silence": "1" },
    deadlineMs: 100,
  });
  t.equal(late?.status, 4);
  const [gone] = await pythonCalls(server.address, "ServerStream", {
    metadata: { "want-count": "100000", "want-size": "1000" },
    cancelAfter: 3,
  });
  t.match(gone, { status: 1, count: 3 });
  await eventually(
    "both ends were seen",
    () => server.calls.filter(({ outcome }) => outcome === "cancelled").length === 2,
  );
});
