/** How many certificates one caller gets: by its address when it joins, by its name and address when it renews. */
import { status, type sendUnaryData, type ServerUnaryCall } from "@grpc/grpc-js";
import path from "node:path";
import t, { type Test } from "tap";
import { createRootCa, loadAuthority } from "../../../certs/authority.js";
import { createCsr } from "../../../certs/csr.js";
import { generateKeyPem } from "../../../certs/keys.js";
import { createCallRate } from "../../../control-plane/ca/call-rate.js";
import {
  createEnrollmentHandler,
  type EnrollmentEvent,
} from "../../../control-plane/ca/enrollment-handler.js";
import { openIssuanceLog } from "../../../control-plane/ca/issuance-log.js";
import { createIssuer } from "../../../control-plane/ca/issuer.js";
import { openJoinTokens } from "../../../control-plane/ca/join-tokens.js";
import { openRevocations } from "../../../control-plane/ca/revocations.js";
import type { Peer, PeerOf } from "../../../control-plane/peer.js";
import type { IssueRequest, IssueResponse } from "../../../src/discovery/proto/enrollment.js";
import { FakeClock } from "../../support/fake-clock.js";

const clock = new FakeClock();
const { certPem, keyPem } = await createRootCa({ trustDomain: "mesh.local", nowMs: clock.wallMs() });
const authority = loadAuthority(certPem, keyPem);
const csrPem = createCsr(await generateKeyPem());

/** Asks as whoever `peer` says, and is told the status. */
async function open(t: Test) {
  const dir = t.testdir();
  const tokens = await openJoinTokens({
    file: path.join(dir, "tokens.json"),
    rootFingerprint: authority.rootFingerprint,
    clock,
  });
  const revocations = await openRevocations({ file: path.join(dir, "revoked.json"), clock });
  t.teardown(() => revocations.close());
  const events: EnrollmentEvent[] = [];
  let peer: Partial<Peer> = {};
  const { Issue } = createEnrollmentHandler({
    ...{ tokens, revocations, clock },
    issuer: createIssuer({ root: authority, clock }),
    log: openIssuanceLog(dir, clock),
    peerOf: (() => peer) as unknown as PeerOf,
    onEvent: (event) => void events.push(event),
  });
  const ask = (who: Partial<Peer>, request: Partial<IssueRequest>): Promise<status> =>
    new Promise((resolve) => {
      peer = who;
      const callback: sendUnaryData<IssueResponse> = (error) =>
        resolve((error as { readonly code?: status } | null)?.code ?? status.OK);
      Issue(
        { request: { csrPem, token: "", ...request } } as ServerUnaryCall<IssueRequest, IssueResponse>,
        callback,
      );
    });
  return { ask, tokens, events };
}

t.test("joins: 60 at once from one address, then one a second, and others are not touched", async (t) => {
  const { ask, tokens, events } = await open(t);
  const { token } = await tokens.createToken({ service: "web", namespace: "default", uses: 2 });
  const flooder = { address: "10.0.0.66" };
  for (let n = 0; n < 60; n++)
    t.equal(await ask(flooder, { token: "guess" }), status.UNAUTHENTICATED, `guess ${n}`);
  t.equal(await ask(flooder, { token }), status.RESOURCE_EXHAUSTED, "not even with a good token");
  t.match(events.at(-1), { kind: "refused", address: "10.0.0.66", reason: /more than 60 joins at once/ });
  t.equal(await ask({ address: "10.0.0.7" }, { token }), status.OK, "another address");
  clock.advance(1000);
  t.equal(
    await ask(flooder, { token }),
    status.OK,
    "a second later; the token was not used up by the refusal",
  );
  t.equal(await ask(flooder, { token }), status.RESOURCE_EXHAUSTED);
});

t.test("renewals: 10 a second of one service at one address", async (t) => {
  const { ask } = await open(t);
  const of = (service: string, address: string): Partial<Peer> => ({
    id: `spiffe://mesh.local/ns/default/svc/${service}`,
    identity: { trustDomain: "mesh.local", namespace: "default", service },
    certificateSerial: "AB",
    address,
  });
  for (let n = 0; n < 10; n++) t.equal(await ask(of("web", "10.0.0.1"), {}), status.OK);
  t.equal(await ask(of("web", "10.0.0.1"), {}), status.RESOURCE_EXHAUSTED);
  t.equal(await ask(of("web", "10.0.0.2"), {}), status.OK, "another instance of it");
  t.equal(await ask(of("api", "10.0.0.1"), {}), status.OK, "another service there");
  clock.advance(100);
  t.equal(await ask(of("web", "10.0.0.1"), {}), status.OK, "a tenth of a second later");
});

t.test("a bucket fills up by time, to its size, and invented callers do not fill the memory", async (t) => {
  const rate = createCallRate(10, 2);
  const take = (caller: string, nowMs: number): boolean => rate.take(caller, nowMs);
  t.same([take("a", 0), take("a", 0), take("a", 0)], [true, true, false]);
  t.same([take("a", 99), take("a", 100)], [false, true]);
  t.same(
    [take("a", 60_000), take("a", 60_000), take("a", 60_000)],
    [true, true, false],
    "no more than its size",
  );
  for (let n = 0; n < 10_000; n++) take(`b${n}`, 60_000);
  t.ok(take("a", 60_000), "the one that was silent longest is forgotten");
});
