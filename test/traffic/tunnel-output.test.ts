import { once } from "node:events";
import net, { type Socket } from "node:net";
import t, { type Test } from "tap";
import { lendReads } from "../../src/traffic/lent-reads.js";
import { TunnelOutput } from "../../src/traffic/tunnel-output.js";

async function connectedPair(t: Test): Promise<[Socket, Socket]> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const near = net.connect(port, "127.0.0.1");
  const [[far]] = (await Promise.all([once(server, "connection"), once(near, "connect")])) as [
    [Socket],
    unknown,
  ];
  t.teardown(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return [near, far];
}

t.test("a chunk that is overwritten after write arrives as it was, also at a slow reader", async (t) => {
  const [near, far] = await connectedPair(t);
  let onRoom = (): void => {};
  let full = 0;
  const output = new TunnelOutput(near, () => onRoom());
  const lent = Buffer.alloc(100_000);
  const rounds = 200;
  const expected = rounds * lent.length;
  let received = 0;
  let wrong = 0;
  let queuedBytes = 0;
  far.on("data", (chunk: Buffer) => {
    for (const byte of chunk) if (byte !== Math.floor(received++ / lent.length) + 1) wrong++;
  });
  far.pause();
  for (let round = 1; round <= rounds; round++) {
    lent.fill(round);
    const hasRoom = output.write(lent);
    lent.fill(0);
    queuedBytes = Math.max(queuedBytes, near.writableLength);
    if (hasRoom) continue;
    full++;
    const room = new Promise<void>((resolve) => (onRoom = resolve));
    far.resume();
    await room;
    far.pause();
  }
  output.flush();
  near.end();
  far.resume();
  await once(far, "end");
  t.equal(received, expected);
  t.equal(wrong, 0);
  t.ok(full > 0, `full ${full} times`);
  t.ok(queuedBytes <= 512 * 1024, `${queuedBytes} bytes were under way`);
});

t.test("small chunks of one turn leave together, behind a write of somebody else's", async (t) => {
  const [near, far] = await connectedPair(t);
  const output = new TunnelOutput(near, () => {});
  near.write("first ");
  for (const word of ["second ", "third ", "last"]) output.write(Buffer.from(word));
  let text = "";
  for await (const chunk of far) {
    text += String(chunk);
    if (text.endsWith("last")) break;
  }
  t.equal(text, "first second third last");
});

t.test("what was discarded is not sent", async (t) => {
  const [near, far] = await connectedPair(t);
  const output = new TunnelOutput(near, () => {});
  output.write(Buffer.from("forgotten"));
  output.discard();
  output.write(Buffer.from("kept"));
  const [chunk] = (await once(far, "data")) as [Buffer];
  t.equal(String(chunk), "kept");
});

t.test(
  "an accepted socket lends its chunks, from the same place each time, and stops when paused",
  async (t) => {
    const [near, far] = await connectedPair(t);
    const chunks: Buffer[] = [];
    let told = (): void => {};
    far.on("data", () => t.fail("came as data"));
    t.equal(
      lendReads(far, (chunk) => {
        chunks.push(chunk);
        told();
      }),
      true,
    );
    for (const word of ["one", "two"]) {
      const came = new Promise<void>((resolve) => (told = resolve));
      near.write(word);
      await came;
      t.equal(String(chunks.at(-1)), word);
    }
    t.equal(chunks[0]?.byteOffset, chunks[1]?.byteOffset);
    t.equal(
      lendReads(far, () => {}),
      false,
      "not twice",
    );
    far.pause();
    near.write("three");
    await new Promise((resolve) => near.write("", resolve));
    await new Promise(setImmediate);
    t.equal(chunks.length, 2);
    const came = new Promise<void>((resolve) => (told = resolve));
    far.resume();
    await came;
    t.equal(String(chunks.at(-1)), "three");
    near.end();
    await once(far, "end");
  },
);
