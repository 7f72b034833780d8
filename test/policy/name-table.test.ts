import fc from "fast-check";
import t from "tap";
import { NameTable } from "../../src/policy/name-table.js";

t.test("finds what a Map finds, whatever comes and goes", async (t) => {
  const step = fc.record({ isAdded: fc.boolean(), name: fc.integer({ min: 0, max: 20_000 }).map(String) });
  const found = fc.check(
    fc.property(fc.array(step, { minLength: 200, maxLength: 3000 }), (steps) => {
      const table = new NameTable<object>();
      const model = new Map<string, object>();
      for (const { isAdded, name } of steps) {
        const value = {};
        if (isAdded && !model.has(name)) {
          table.add(name, value);
          model.set(name, value);
        } else if (!isAdded) {
          table.delete(name);
          model.delete(name);
        }
        if (table.get(name) !== model.get(name) || table.size !== model.size) return false;
      }
      return [...model].every(([name, value]) => table.get(name) === value);
    }),
    { numRuns: 100 },
  );
  t.notOk(found.failed, JSON.stringify(found.counterexample)?.slice(0, 2000));
});
