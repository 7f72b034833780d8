import fc from "fast-check";
import t from "tap";
import { StreamTable } from "../../src/http2/stream-table.js";

interface Stream {
  readonly id: number;
}

const step = fc.record({
  kind: fc.constantFrom("add", "delete", "get"),
  // Few homes and far apart ids, so that they collide; both kinds of parity.
  id: fc.oneof(
    fc.integer({ min: 1, max: 90 }),
    fc.integer({ min: 0, max: 40 }).map((n) => 1 + n * 128),
    fc.integer({ min: 2 ** 31 - 60, max: 2 ** 31 - 1 }),
  ),
});

void t.test("finds what a Map finds, whatever comes and goes", async (t) => {
  const found = fc.check(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const table = new StreamTable<Stream>();
      const model = new Map<number, Stream>();
      for (const { kind, id } of steps) {
        if (kind === "add") {
          const stream = { id };
          table.add(stream);
          model.set(id, stream);
        } else if (kind === "delete") {
          table.delete(id);
          model.delete(id);
        }
        if (table.get(id) !== model.get(id) || table.has(id) !== model.has(id)) return false;
        if (table.size !== model.size) return false;
      }
      for (const [id, stream] of model) if (table.get(id) !== stream) return false;
      return (
        new Set(table.values()).size === model.size && table.values().every((s) => model.get(s.id) === s)
      );
    }),
    { numRuns: 2000 },
  );
  t.notOk(found.failed, JSON.stringify(found.counterexample));
});

void t.test("the streams given are those of that moment", async (t) => {
  const table = new StreamTable<Stream>();
  for (let id = 1; id < 200; id += 2) table.add({ id });
  t.equal(table.size, 100);
  for (const { id } of table.values()) table.delete(id);
  t.equal(table.size, 0);
  t.same(table.values(), []);
});
