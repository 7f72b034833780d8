import type { Client } from "@grpc/grpc-js";
import t from "tap";
import { jwtSvids } from "../../src/discovery/jwt-svids.js";
import type { IssueJwtRequest, IssueJwtResponse } from "../../src/discovery/proto/jwt-svids.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { FakeClock } from "../support/fake-clock.js";

type Callback = (error: Error | null, answer?: IssueJwtResponse) => void;

/** A control plane that answers when it is told to. */
function scripted() {
  const asked: { readonly audience: readonly string[]; readonly answer: Callback }[] = [];
  let cancelled = 0;
  const client = {
    makeUnaryRequest(
      ...[, , , request, , answer]: [string, unknown, unknown, IssueJwtRequest, unknown, Callback]
    ) {
      asked.push({ audience: request.audience, answer });
      return {
        cancel: () => {
          cancelled++;
          answer(new Error("cancelled"));
        },
      };
    },
  };
  const clock = new FakeClock();
  const source = new LatestValue<Client | undefined>(client as unknown as Client);
  const fetch = jwtSvids({ client: source, clock });
  const answer = (token: string): void => asked.at(-1)?.answer(null, { token, lifeSeconds: 300 });
  const fail = (): void => asked.at(-1)?.answer(new Error("down"));
  return { asked, clock, fetch, answer, fail, source, cancelled: () => cancelled };
}

t.test("a token is kept for half of its life, by its audiences in any order", async (t) => {
  const { asked, clock, fetch, answer } = scripted();
  const first = fetch(["b", "a"]);
  const same = fetch(["a", "b", "a"]);
  answer("one");
  t.same(await Promise.all([first, same]), ["one", "one"]);
  clock.advance(149_000);
  t.equal(await fetch(["a", "b"]), "one");
  t.equal(asked.length, 1, "calls at once share a request, later ones need none");
  clock.advance(1000);
  const second = fetch(["a", "b"]);
  answer("two");
  t.equal(await second, "two");
  const other = fetch(["a"]);
  answer("three");
  t.equal(await other, "three", "other audiences, another token");
});

t.test("the old one serves while the control plane is away, as long as it is good for a call", async (t) => {
  const { clock, fetch, answer, fail, source, cancelled } = scripted();
  const first = fetch(["a"]);
  answer("one");
  await first;
  clock.advance(284_000);
  const late = fetch(["a"]);
  fail();
  t.equal(await late, "one");
  clock.advance(1000);
  const tooLate = fetch(["a"]);
  fail();
  await t.rejects(tooLate, { message: "down" });
  const silent = fetch(["a"]);
  clock.advance(5000);
  await t.rejects(silent, { message: "cancelled" });
  t.equal(cancelled(), 1, "an answer is not waited for without a bound");
  source.set(undefined);
  await t.rejects(fetch(["a"]), { message: /no connection/ });
});

t.test("what applications make up does not fill the memory", async (t) => {
  const { asked, fetch, answer } = scripted();
  for (let index = 0; index <= 256; index++) {
    const token = fetch([`audience-${index}`]);
    answer(String(index));
    await token;
  }
  t.equal(await fetch(["audience-256"]), "256");
  t.equal(asked.length, 257);
  const forgotten = fetch(["audience-0"]);
  answer("anew");
  t.equal(await forgotten, "anew", "the oldest went");
});
