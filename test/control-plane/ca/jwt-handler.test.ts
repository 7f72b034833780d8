import { status, type sendUnaryData, type ServerUnaryCall } from "@grpc/grpc-js";
import t from "tap";
import { jwtKeyOf } from "../../../certs/jwk.js";
import { verifyJwtSvid } from "../../../certs/jwt-svid.js";
import { createJwtHandler } from "../../../control-plane/ca/jwt-handler.js";
import type { PeerOf } from "../../../control-plane/peer.js";
import type { IssueJwtRequest, IssueJwtResponse } from "../../../src/discovery/proto/jwt-svids.js";
import { FakeClock } from "../../support/fake-clock.js";
import { newKey } from "../../support/make-certificate.js";

const key = newKey();
const published = jwtKeyOf(key);
const web = "spiffe://mesh.local/ns/default/svc/web";
const clock = new FakeClock();
const issued: string[] = [];
let caller: string | undefined = web;
const { Issue } = createJwtHandler({
  keys: { signer: () => ({ kid: published.kid, key }) },
  ttlMs: 300_000,
  peerOf: (() => ({ id: caller })) as unknown as PeerOf,
  clock,
  onIssued: (id, audience) => void issued.push(`${id} ${audience.join(",")}`),
});

function ask(audience: readonly string[]): IssueJwtResponse | status {
  let answer: IssueJwtResponse | status = status.UNKNOWN;
  const callback: sendUnaryData<IssueJwtResponse> = (error, value) => {
    answer = value ?? (error as { readonly code: status }).code;
  };
  Issue({ request: { audience } } as ServerUnaryCall<IssueJwtRequest, IssueJwtResponse>, callback);
  return answer;
}

t.test("a token is for whoever the connection proves, and for nobody else", async (t) => {
  const { token, lifeSeconds } = ask(["reports"]) as IssueJwtResponse;
  const verdict = verifyJwtSvid(token, {
    audience: "reports",
    nowMs: clock.wallMs(),
    keysOf: () => [published],
  });
  t.match(verdict, { ok: true, id: web, claims: { exp: clock.wallMs() / 1000 + 300 } });
  t.equal(lifeSeconds, 300);
  t.same(issued, [`${web} reports`]);
  caller = undefined;
  t.equal(ask(["reports"]), status.UNAUTHENTICATED);
  caller = web;
});

t.test("audiences", async (t) => {
  for (const audience of [[], [""], ["a", ""], ["x".repeat(1025)], Array.from({ length: 17 }, String)]) {
    clock.advance(1000);
    t.equal(ask(audience), status.INVALID_ARGUMENT);
  }
});

t.test("one caller's flood is refused, and does not touch the others", async (t) => {
  clock.advance(1000);
  const answers = Array.from({ length: 25 }, () => ask(["a"]));
  t.equal(answers.filter((answer) => answer === status.RESOURCE_EXHAUSTED).length, 5);
  caller = "spiffe://mesh.local/ns/default/svc/other";
  t.type(ask(["a"]), "object");
  caller = web;
});
