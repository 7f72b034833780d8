/** Two protocols on one plaintext port, and what a drain tells clients of either. */
import http2 from "node:http2";
import t, { type Test } from "tap";
import { detectProtocol } from "../../src/proxy/protocol-detection.js";
import { answer, ByteUpstream, okText, type Script } from "../support/byte-upstream.js";
import { ProxyPair, type PairOptions } from "../support/proxy-pair.js";
import { connect } from "../support/raw-client.js";

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);

async function open(t: Test, script: Script = answer(), options: Partial<PairOptions> = {}) {
  const upstream = await ByteUpstream.open(t, script);
  const pair = await ProxyPair.open(t, { upstreamPort: upstream.port, hops: 1, ...options });
  return { upstream, pair };
}

t.test("the protocol is known from the first byte that can tell", async (t) => {
  t.equal(detectProtocol(Buffer.alloc(0)), undefined);
  for (let length = 1; length < preface.length; length++) {
    const part = preface.slice(0, length);
    t.equal(detectProtocol(Buffer.from(part)), undefined, JSON.stringify(part));
    t.equal(detectProtocol(Buffer.from(`${part.slice(0, -1)}\x01`)), "http1", `not ${JSON.stringify(part)}`);
  }
  t.equal(detectProtocol(Buffer.from(preface)), "http2");
  t.equal(detectProtocol(Buffer.from(`${preface}\0\0`)), "http2");
  for (const method of ["GET", "POST", "PUT", "PATCH", "PRI / HTTP/1.1", "PROPFIND"])
    t.equal(detectProtocol(Buffer.from(method.padEnd(24))), "http1", method);
});

t.test("no byte is lost on the way to the codec", async (t) => {
  const { upstream, pair } = await open(t);
  const request = "PROPFIND / HTTP/1.1\r\nHost: a.test\r\n\r\n";
  const slow = connect(t, pair.port);
  for (const byte of request) {
    slow.write(byte);
    await new Promise(setImmediate);
  }
  t.equal(await slow.gets("ok"), okText);
  t.equal(upstream.text, request);
  slow.write(request.repeat(2));
  await slow.gets(okText.repeat(3));

  const upgraded = connect(t, pair.port);
  for (const byte of Buffer.concat([Buffer.from(preface), settings])) {
    upgraded.write(Buffer.from([byte]));
    await new Promise(setImmediate);
  }
  // Our SETTINGS, and the acknowledgement of theirs.
  await upgraded.wait("an acknowledgement", () =>
    upgraded.bytes.includes(Buffer.from([0, 0, 0, 4, 1, 0, 0, 0, 0])),
  );
  t.equal(upgraded.bytes[3], 4, "SETTINGS first");

  const smuggler = connect(t, pair.port);
  smuggler.write(`${preface}${request}`);
  const said = await smuggler.over();
  t.notMatch(said, /HTTP\/1\.1/, "what follows the preface is never read as HTTP/1.1");
  t.equal(upstream.text.match(/PROPFIND/g)?.length, 3);
});

t.test("who cannot decide is not waited for", async (t) => {
  const timeouts = { idleMs: 60, headMs: 60 };
  const { pair } = await open(t, undefined, { timeouts });
  const silent = connect(t, pair.port);
  const undecided = connect(t, pair.port);
  undecided.write("PRI * HT");
  await Promise.all([silent.over(), undecided.over()]);
  for (const client of [silent, undecided]) client.socket.end();
  t.equal(silent.size + undecided.size, 0);

  const leaving = connect(t, pair.port);
  leaving.write("PR");
  leaving.socket.end();
  await leaving.closed();
  const reset = connect(t, pair.port);
  reset.write("PR");
  reset.socket.resetAndDestroy();
  while (pair.clients > 0) await new Promise(setImmediate);
  t.equal(pair.calls.total, 0);
});

t.test("draining", async (t) => {
  await t.test("of connections that have said nothing, or not enough", async (t) => {
    const { pair } = await open(t);
    const silent = connect(t, pair.port);
    const undecided = connect(t, pair.port);
    undecided.write("P");
    const late = connect(t, pair.port);
    late.write("GET ");
    while (pair.clients < 3) await new Promise(setImmediate);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const drained = pair.listeners[0]?.drain();
    await silent.over();
    silent.socket.end();
    undecided.write("UT / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    late.write("/ HTTP/1.1\r\nHost: a.test\r\n\r\n");
    for (const client of [undecided, late]) {
      t.match(await client.over(), /^HTTP\/1\.1 200 OK\r\n[^]*Connection: close\r\n/);
      client.socket.end();
    }
    await drained;
    t.equal(pair.clients, 0);
  });

  await t.test("HTTP/2: what is under way ends well, and the client is told to go", async (t) => {
    const replies: (() => void)[] = [];
    const { pair } = await open(t, (peer) => {
      peer.onData = () => void replies.push(() => peer.write(okText));
    });
    const session = http2.connect(`http://127.0.0.1:${pair.port}`);
    t.teardown(() => session.destroy());
    let goaways = 0;
    session.on("goaway", () => goaways++);
    const send = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const stream = session.request({ ":path": "/", ":authority": "a.test" });
        let text = "";
        stream.setEncoding("latin1");
        stream.on("data", (chunk: string) => (text += chunk));
        stream.on("end", () => resolve(text));
        stream.on("error", reject);
      });
    const under = send();
    while (replies.length < 1) await new Promise(setImmediate);
    const drained = pair.listeners[0]?.drain();
    while (goaways === 0) await new Promise(setImmediate);
    replies[0]?.();
    t.equal(await under, "ok");
    await drained;
    t.equal(pair.clients, 0);
    t.ok(session.closed);
  });

  await t.test("HTTP/2: a connection that comes late is served", async (t) => {
    const { pair } = await open(t);
    const drained = pair.listeners[0]?.drain();
    const session = http2.connect(`http://127.0.0.1:${pair.port}`);
    t.teardown(() => session.destroy());
    const stream = session.request({ ":path": "/", ":authority": "a.test" });
    const status = await new Promise((resolve, reject) => {
      stream.on("response", (fields) => resolve(fields[":status"]));
      stream.on("error", reject);
    });
    t.equal(status, 200);
    await drained;
    while (pair.clients > 0) await new Promise(setImmediate);
  });
});
