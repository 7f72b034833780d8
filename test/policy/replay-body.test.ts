import { createHash } from "node:crypto";
import fc from "fast-check";
import t from "tap";
import { ReplayBody } from "../../src/policy/replay-body.js";
import { ScriptedSink, ScriptedSource, scriptedError } from "../support/scripted-body.js";

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** What one attempt does before it dies (or, as the last, goes on to the end). */
interface Plan {
  /** Slices it takes before it says "full"; then a resume each time the schedule reaches it. */
  readonly room: number;
  /** Dies inside this write, counted over all it got; beyond: it dies between two events. */
  readonly diesInWrite: number;
  /** Events of the client that happen before it attaches, and while it lives. */
  readonly eventsBefore: number;
  readonly eventsDuring: number;
}

const plan: fc.Arbitrary<Plan> = fc.record({
  room: fc.integer({ min: 1, max: 4 }),
  diesInWrite: fc.integer({ min: 1, max: 12 }),
  eventsBefore: fc.integer({ min: 0, max: 3 }),
  eventsDuring: fc.integer({ min: 0, max: 5 }),
});

t.test(
  "whatever the splits and failures, the attempt that succeeds gets exactly the original bytes",
  async (t) => {
    const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 12 });
    fc.assert(
      fc.property(chunks, fc.array(plan, { maxLength: 4 }), fc.boolean(), (slices, plans, isNested) => {
        const events: (Buffer | "end")[] = [...slices.map((slice) => Buffer.from(slice)), "end"];
        const original = sha256(Buffer.concat(slices));
        const source = new ScriptedSource();
        const body = new ReplayBody(source, 10_000);
        const arrive = (count: number): void => {
          for (const event of events.splice(0, count)) source.arrive(event);
        };
        const run = (index: number): ScriptedSink => {
          const attempt = body.nextAttempt();
          const sink = new ScriptedSink();
          const step = plans[index];
          if (step === undefined) {
            attempt.attach(sink);
            return sink;
          }
          sink.room = step.room;
          let next: ScriptedSink | undefined;
          const die = (): void => {
            attempt.cancel(scriptedError);
            // The worst case: the next attempt begins inside the write that killed this one.
            if (isNested) next = run(index + 1);
          };
          sink.onWrite = () => {
            if (sink.chunks.length === step.diesInWrite) die();
          };
          arrive(step.eventsBefore);
          attempt.attach(sink);
          for (let i = 0; i < step.eventsDuring && sink.chunks.length < step.diesInWrite; i++) {
            arrive(1);
            if (sink.room <= 0) {
              sink.room = step.room;
              attempt.resume();
            }
          }
          if (next === undefined) {
            attempt.cancel(scriptedError);
            attempt.resume(); // late calls of a dead attempt have no effect
            next = run(index + 1);
          }
          return next;
        };
        const last = run(0);
        arrive(Infinity);
        body.release();
        return (
          last.isEnded &&
          sha256(last.bytes) === original &&
          last.trailers?.[0] === "x-checksum" &&
          source.cancelledWith === null
        );
      }),
      { numRuns: 2000 },
    );
    t.pass("property held");
  },
);

t.test("a chunk that comes after the retry was started is sent once", async (t) => {
  const source = new ScriptedSource();
  const body = new ReplayBody(source, 100);
  body.nextAttempt().cancel(scriptedError); // failed before its body was read
  const sink = new ScriptedSink();
  body.nextAttempt().attach(sink);
  source.arrive(Buffer.from("late"), "end");
  t.equal(sink.bytes.toString(), "late");
  t.ok(sink.isEnded);
});

t.test("between two attempts the client is paused, not drained", async (t) => {
  const source = new ScriptedSource();
  const body = new ReplayBody(source, 4);
  const first = body.nextAttempt();
  first.attach(new ScriptedSink());
  first.cancel(scriptedError);
  source.arrive(Buffer.from("under way"), Buffer.from("held back"), "end");
  t.ok(source.isPaused, "after the one slice that was under way");
  t.ok(body.canReplay);
  const sink = new ScriptedSink();
  body.nextAttempt().attach(sink);
  t.equal(sink.bytes.toString(), "under wayheld back");
  t.ok(sink.isEnded);
  t.notOk(body.canReplay, "now the limit is passed and the copy is gone");
});

t.test("late calls of a dead attempt, and slices that come while the copy is sent, do no harm", async (t) => {
  const source = new ScriptedSource();
  const body = new ReplayBody(source, 100);
  const dead = body.nextAttempt();
  dead.attach(new ScriptedSink());
  source.arrive(Buffer.from("a"), Buffer.from("b"));
  dead.cancel(scriptedError);
  const sink = new ScriptedSink();
  sink.room = 1;
  let depth = 0;
  let deepest = 0;
  sink.onWrite = () => {
    deepest = Math.max(deepest, ++depth);
    if (sink.chunks.length === 2) source.arrive(Buffer.from("c"), "end");
    depth--;
  };
  const attempt = body.nextAttempt();
  attempt.attach(sink);
  dead.resume();
  dead.cancel(scriptedError);
  dead.attach(new ScriptedSink());
  t.equal(sink.bytes.toString(), "a", "only its own resume lets the attempt go on");
  sink.room = Infinity;
  attempt.resume();
  t.equal(sink.bytes.toString(), "abc");
  t.ok(sink.isEnded);
  t.equal(deepest, 1, "no write inside a write");
});

t.test("over the limit: streams on, drops the copy, can not be sent again", async (t) => {
  const source = new ScriptedSource(12);
  const body = new ReplayBody(source, 10);
  const sink = new ScriptedSink();
  const attempt = body.nextAttempt();
  t.equal(attempt.length, 12);
  attempt.attach(sink);
  source.arrive(Buffer.from("0123456789"));
  t.ok(body.canReplay, "exactly the limit is kept");
  source.arrive(Buffer.from("ab"), "end");
  t.notOk(body.canReplay);
  t.equal(sink.bytes.toString(), "0123456789ab");
  t.ok(sink.isEnded);
});

t.test("a refusal reaches the client only when no attempt can follow", async (t) => {
  const early = new ScriptedSource();
  const body = new ReplayBody(early, 100);
  const attempt = body.nextAttempt();
  attempt.attach(new ScriptedSink());
  attempt.cancel(scriptedError);
  t.equal(early.cancelledWith, null, "a retry may want the bytes");
  body.release();
  body.release();
  t.equal(early.cancelledWith, scriptedError);

  const late = new ScriptedSource();
  const committed = new ReplayBody(late, 100);
  const last = committed.nextAttempt();
  const sink = new ScriptedSink();
  last.attach(sink);
  late.arrive(Buffer.from("a"));
  committed.release();
  late.arrive(Buffer.from("b"));
  t.equal(sink.bytes.toString(), "ab", "the upload goes on beside the response");
  last.cancel(scriptedError);
  t.equal(late.cancelledWith, scriptedError);
});

t.test("a failing upload fails the attempt at once and is not sent again", async (t) => {
  const source = new ScriptedSource();
  const body = new ReplayBody(source, 100);
  const first = body.nextAttempt();
  const full = new ScriptedSink();
  full.room = 1;
  first.attach(full);
  source.arrive(Buffer.from("a"), Buffer.from("b"));
  source.fail(scriptedError);
  t.equal(full.failedWith, scriptedError);
  t.notOk(body.canReplay);
  const next = new ScriptedSink();
  body.nextAttempt().attach(next);
  t.equal(next.failedWith, scriptedError);
});

t.test("one-byte chunks are kept in few slices", async (t) => {
  const source = new ScriptedSource();
  const body = new ReplayBody(source, 64 * 1024);
  const first = body.nextAttempt();
  first.attach(new ScriptedSink());
  const bytes = Buffer.from(Array.from({ length: 5000 }, (_, i) => i % 251));
  for (let i = 0; i < bytes.length; i++) source.arrive(bytes.subarray(i, i + 1));
  first.cancel(scriptedError);
  source.arrive("end");
  const sink = new ScriptedSink();
  body.nextAttempt().attach(sink);
  t.ok(sink.bytes.equals(bytes));
  t.ok(sink.chunks.length <= 65, `${sink.chunks.length} slices`);
});
