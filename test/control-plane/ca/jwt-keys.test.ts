import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { setImmediate } from "node:timers/promises";
import t from "tap";
import { planKeys, signingKey } from "../../../control-plane/ca/jwt-key-plan.js";
import { openJwtKeys, type JwtKeys } from "../../../control-plane/ca/jwt-keys.js";
import { ConfigError } from "../../../src/errors/config-error.js";
import { FakeClock } from "../../support/fake-clock.js";

const hour = 3_600_000;
const day = 24 * hour;
const at = (...starts: readonly number[]) => starts.map((activeFromMs) => ({ activeFromMs }));

/** Lets time go by, and the keys be looked at when it has. */
async function pass(clock: FakeClock, ms: number): Promise<void> {
  clock.advance(ms);
  await setImmediate();
  clock.advance(600_000);
}

t.test("the plan of the keys", async (t) => {
  const cases: readonly (readonly [
    string,
    readonly number[],
    number,
    readonly number[],
    number | undefined,
  ])[] = [
    ["none: one that signs at once", [], 5 * day, [], 5 * day],
    ["young", [0], day, [0], undefined],
    ["a day before its end the next is published", [0], 6 * day, [0], 7 * day],
    ["the next is there", [0, 7 * day], 6.5 * day, [0, 7 * day], undefined],
    ["the old stays while its tokens live", [0, 7 * day], 7 * day + hour, [0, 7 * day], undefined],
    ["then it goes", [0, 7 * day], 7 * day + 2 * hour, [7 * day], undefined],
    ["after a long absence the next is published first", [0], 30 * day, [0], 31 * day],
  ];
  for (const [what, starts, nowMs, keep, create] of cases)
    t.same(planKeys(at(...starts), nowMs), { keep: at(...keep), createActiveFromMs: create }, what);
  const keys = at(day, 8 * day);
  t.equal(signingKey(keys, 7.9 * day), keys[0]);
  t.equal(signingKey(keys, 8 * day), keys[1]);
  t.equal(signingKey(keys, 0), keys[0], "a clock that was set back");
  t.equal(signingKey([], 0), undefined);
});

t.test("keys are kept, replaced, and published before they sign", async (t) => {
  const clock = new FakeClock();
  const file = path.join(t.testdir(), "jwt-keys.json");
  const onError = (error: unknown): void => void t.fail(String(error));
  const open = () => openJwtKeys({ file, passphrase: undefined, clock, onError });
  const keys = await open();
  const first = keys.signer().kid;
  t.equal((await stat(file)).mode & 0o777, 0o600);
  t.same(
    keys.published.get().map(({ kid }) => kid),
    [first],
  );
  const [, next] = await Promise.all([pass(clock, 6 * day), keys.published.until((all) => all.length === 2)]);
  t.equal(next.length, 2);
  t.equal(keys.signer().kid, first, "the new one does not sign yet");
  keys.close();

  const again = await open();
  t.teardown(() => again.close());
  t.equal(again.published.get().length, 2, "after a restart too");
  const second = again.published.get()[1]?.kid;
  clock.advance(day);
  t.equal(again.signer().kid, second);
  const [, left] = await Promise.all([
    pass(clock, 2 * hour),
    again.published.until((all) => all.length === 1),
  ]);
  t.same(
    left.map(({ kid }) => kid),
    [second],
  );
  t.notMatch(await readFile(file, "utf8"), first);
});

t.test("a file that is damaged or open to others is refused and left alone", async (t) => {
  const clock = new FakeClock();
  const file = path.join(t.testdir(), "jwt-keys.json");
  const open = () => openJwtKeys({ file, passphrase: undefined, clock, onError: () => undefined });
  (await open()).close();
  const good = await readFile(file, "utf8");
  for (const text of ["", "{}", good.slice(0, 100), good.replace("BEGIN", "BEGAN")]) {
    await writeFile(file, text);
    const error: unknown = await open().catch((cause: unknown) => cause);
    t.ok(error instanceof ConfigError);
    t.match((error as Error).message, /jwt-keys\.json is damaged: restore it/);
    t.notMatch(String((error as Error).cause), "PRIVATE");
    t.equal(await readFile(file, "utf8"), text);
  }
  await writeFile(file, good);
  await chmod(file, 0o640);
  await t.rejects(open(), { message: /can be read by others/ });
});

t.test("with the CA's passphrase the keys are encrypted, also those that were plain", async (t) => {
  const clock = new FakeClock();
  const file = path.join(t.testdir(), "jwt-keys.json");
  const onError = (error: unknown): void => void t.fail(String(error));
  const open = (passphrase?: string) => openJwtKeys({ file, passphrase, clock, onError });
  const kids = (keys: JwtKeys): readonly string[] => keys.published.get().map(({ kid }) => kid);
  const plain = await open();
  plain.close();
  t.match(await readFile(file, "utf8"), /BEGIN PRIVATE KEY/);
  const first = await open("secret");
  t.same(kids(first), kids(plain), "the same key");
  first.close();
  const text = await readFile(file, "utf8");
  t.match(text, /BEGIN ENCRYPTED PRIVATE KEY/);
  t.notMatch(text, /BEGIN PRIVATE KEY/);
  t.equal((await stat(file)).mode & 0o777, 0o600);

  const again = await open("secret");
  t.teardown(() => again.close());
  t.equal(await readFile(file, "utf8"), text, "what is encrypted stays as it is");
  t.equal(again.signer().kid, kids(plain)[0]);
  await Promise.all([pass(clock, 6 * day), again.published.until((keys) => keys.length === 2)]);
  const both = await readFile(file, "utf8");
  t.equal(both.match(/BEGIN ENCRYPTED PRIVATE KEY/g)?.length, 2, "a new one too");
  t.notMatch(both, /BEGIN PRIVATE KEY/);

  const cases: readonly (readonly [passphrase: string | undefined, content: string, message: RegExp])[] = [
    [undefined, both, /jwt-keys\.json: the private key is encrypted: .*--ca-key-passphrase-file/],
    [
      "Secret",
      both,
      /jwt-keys\.json: the passphrase does not open .*encrypt-key was cut short, run it again$/,
    ],
    ["secret", both.slice(0, 400), /jwt-keys\.json is damaged: restore it/],
    ["secret", both.replace("END ENCRYPTED", "END"), /jwt-keys\.json is damaged: restore it/],
  ];
  for (const [passphrase, content, message] of cases) {
    await writeFile(file, content);
    await t.rejects(open(passphrase), { name: "ConfigError", message });
    t.equal(await readFile(file, "utf8"), content, "nothing is overwritten");
  }
});
