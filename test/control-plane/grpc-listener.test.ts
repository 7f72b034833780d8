/** Joining, renewal and registration over real mutual TLS: the listener with its services, and the sidecar's ends. */
import { connect as connectPlain, createServer, type AddressInfo, type Socket } from "node:net";
import path from "node:path";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { Client, Metadata, type ServiceError } from "@grpc/grpc-js";
import t, { type Test } from "tap";
import { createRootCa, fingerprint, loadAuthority, splitPemCertificates } from "../../certs/index.js";
import { createEnrollmentHandler, type EnrollmentEvent } from "../../control-plane/ca/enrollment-handler.js";
import { openIssuanceLog } from "../../control-plane/ca/issuance-log.js";
import { createIssuer } from "../../control-plane/ca/issuer.js";
import { openJoinTokens } from "../../control-plane/ca/join-tokens.js";
import { startOwnIdentity } from "../../control-plane/ca/own-identity.js";
import { openRevocations } from "../../control-plane/ca/revocations.js";
import { createEmbeddedCatalog } from "../../control-plane/catalog/embedded.js";
import { createGrpcListener } from "../../control-plane/grpc-listener.js";
import { peerOf } from "../../control-plane/peer.js";
import { createRegistrationHandler } from "../../control-plane/registration/registration-handler.js";
import { requireIdentity } from "../../control-plane/require-identity.js";
import { openControlPlaneChannel } from "../../src/discovery/channel.js";
import {
  controlPlaneChannelOptions,
  controlPlaneCredentials,
} from "../../src/discovery/control-plane-tls.js";
import { enroll, renew } from "../../src/discovery/enroll.js";
import { parseHostPort } from "../../src/discovery/host-port.js";
import { enrollmentService } from "../../src/discovery/proto/enrollment.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { registerEmbedded } from "../../src/registration/embedded.js";
import {
  registrationService,
  type InstanceDeclaration,
} from "../../src/registration/registration-service.js";
import { systemClock as clock } from "../../src/time/clock.js";
import { startBlackHole } from "../support/black-hole.js";
import { eventually } from "../support/eventually.js";
import { FakeClock } from "../support/fake-clock.js";

async function startListener(t: Test, leafTtlMs = 60_000) {
  const pem = await createRootCa({ trustDomain: "mesh.local", nowMs: clock.wallMs() });
  const root = loadAuthority(pem.certPem, pem.keyPem);
  const tokens = await openJoinTokens({
    file: path.join(t.testdir(), "tokens.json"),
    rootFingerprint: fingerprint(root.certificate.der),
    clock,
  });
  const issuer = createIssuer({ root, clock, ttlMs: leafTtlMs });
  const log = openIssuanceLog(t.testdirName, clock);
  const revocations = await openRevocations({ file: path.join(t.testdirName, "revoked.json"), clock });
  const own = await startOwnIdentity(createIssuer({ root, clock }), log, clock, () => undefined);
  const catalog = createEmbeddedCatalog({ clock });
  const events: EnrollmentEvent[] = [];
  const refused: string[] = [];
  const listener = createGrpcListener({
    listen: parseHostPort("127.0.0.1:0", "--listen"),
    certificates: own.certificates,
    clock,
    revoked: revocations.serials,
    interceptors: [requireIdentity(peerOf, [enrollmentService.Issue.path], revocations.serials)],
    onRefused: ({ detail }) => refused.push(detail),
  });
  listener.server.addService(
    enrollmentService,
    createEnrollmentHandler({
      ...{ issuer, tokens, log, revocations, peerOf, clock },
      onEvent: (event) => events.push(event),
    }),
  );
  listener.server.addService(
    registrationService,
    createRegistrationHandler({ catalog, peerOf, clock, refuse: () => undefined }),
  );
  const controlPlane = await listener.start();
  t.teardown(async () => {
    own.close();
    revocations.close();
    await catalog.close();
    await listener.close();
  });
  const newToken = async (service: string): Promise<string> =>
    (await tokens.createToken({ service, namespace: "default" })).token;
  const join = async (service: string): Promise<Svid> =>
    enroll({ controlPlane, token: await newToken(service), service, namespace: "default", clock });
  return { root, issuer, own, catalog, events, refused, controlPlane, newToken, join };
}

function issueRaw(
  controlPlane: string,
  bundlePem: string,
  key: Svid | undefined,
  csrPem: string,
  token: string,
) {
  const client = new Client(
    `dns:///${controlPlane}`,
    controlPlaneCredentials(bundlePem, { trustDomain: "mesh.local" }, key),
    controlPlaneChannelOptions,
  );
  const { path: method, requestSerialize, responseDeserialize } = enrollmentService.Issue;
  return new Promise<{ certChainPem: string }>((resolve, reject) => {
    client.makeUnaryRequest(
      method,
      requestSerialize,
      responseDeserialize,
      { csrPem, token },
      new Metadata(),
      (error, answer) => {
        client.close();
        if (error !== null || answer === undefined) reject(error ?? new Error("no answer"));
        else resolve(answer);
      },
    );
  });
}

const declaration = (id: string, service = "web"): InstanceDeclaration => ({
  id,
  service,
  namespace: "default",
  address: "127.0.0.1",
  meshPort: 15006,
  appPort: 8080,
  protocol: "http",
  weight: 1,
  zone: "a",
  meta: [{ name: "version", value: "2" }],
});

void t.test("joining", async (t) => {
  const mesh = await startListener(t);

  await t.test("a token makes an identity, once", async (t) => {
    const token = await mesh.newToken("web");
    const request = { controlPlane: mesh.controlPlane, token, service: "web", namespace: "default", clock };
    const svid = await enroll(request);
    t.equal(svid.id, "spiffe://mesh.local/ns/default/svc/web");
    t.match(mesh.events.at(-1), { kind: "issued", by: "token", caller: { service: "web" } });
    await t.rejects(enroll(request), { name: "ConfigError", message: /used already.*remora token create/ });
    t.notOk(JSON.stringify(mesh.events).includes(token.slice(5, 40)), "no token in the log");
  });

  await t.test("of two that redeem a token at once exactly one wins", async (t) => {
    const token = await mesh.newToken("web");
    const request = { controlPlane: mesh.controlPlane, token, service: "web", namespace: "default", clock };
    const results = await Promise.allSettled([enroll(request), enroll(request), enroll(request)]);
    t.equal(results.filter((result) => result.status === "fulfilled").length, 1);
  });

  await t.test("a certificate is renewed by itself, on a new key", async (t) => {
    const svid = await mesh.join("web");
    const next = await renew(svid, { controlPlane: mesh.controlPlane, clock });
    t.equal(next.id, svid.id);
    t.not(next.serial, svid.serial);
    t.not(next.keyPem, svid.keyPem);
    t.match(mesh.events.at(-1), { kind: "issued", by: "certificate" });
  });

  await t.test("without token and certificate nothing is issued", async (t) => {
    await t.rejects(issueRaw(mesh.controlPlane, mesh.root.certPem, undefined, "x", ""), {
      code: 16,
      details: /remora token create/,
    });
  });

  await t.test("each failure names cause and fix", async (t) => {
    const base = { service: "web", namespace: "default", clock, token: await mesh.newToken("web") };
    const { controlPlane } = mesh;
    const strange = base.token.replace(/[0-9a-f]{64}$/, "0".repeat(64));
    const cases: readonly [Partial<typeof base & { controlPlane: string }>, RegExp][] = [
      [{ controlPlane: "127.0.0.1:1" }, /127\.0\.0\.1:1 is unreachable \(ECONNREFUSED\): start it with/],
      [{ controlPlane: "nonsense" }, /--control-plane: "nonsense" is not HOST:PORT/],
      [{ token: strange }, /does not belong to this join token \(its root CA has another fingerprint\)/],
      [{ token: "hello" }, /not a join token.*remora token create/],
      [{ service: "api" }, /the join token is for .*svc\/web, not for .*svc\/api: .*--service api/],
    ];
    for (const [change, text] of cases) {
      const error = await enroll({ controlPlane, ...base, ...change }).catch((reason: unknown) => reason);
      t.ok(error instanceof ConfigError);
      t.match(String(error), text);
      t.notMatch(String(error), /\n/);
    }
  });

  await t.test("the token is not sent to a server with another root", async (t) => {
    const other = await startListener(t);
    const token = await mesh.newToken("web");
    await t.rejects(
      enroll({ controlPlane: other.controlPlane, token, service: "web", namespace: "default", clock }),
      /another fingerprint/,
    );
    t.same(other.events, [], "no call arrived");
  });

  await t.test("a silent control plane is given up", async (t) => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    t.teardown(() => silent.close());
    const { port } = silent.address() as AddressInfo;
    const abort = new AbortController();
    const fastClock = { ...clock, timer: (ms: number, fn: () => void) => clock.timer(ms / 100, fn) };
    await t.rejects(
      enroll({
        controlPlane: `127.0.0.1:${port}`,
        token: await mesh.newToken("web"),
        service: "web",
        namespace: "default",
        clock: fastClock,
        signal: abort.signal,
      }),
      /unreachable \(no answer within 5000 ms\)/,
    );
  });
});

void t.test("the port refuses strangers before any call", async (t) => {
  const mesh = await startListener(t);
  const { host, port } = parseHostPort(mesh.controlPlane, "");

  await t.test("plaintext and garbage", async (t) => {
    for (const text of [
      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "\u0000\u0001",
    ]) {
      const got = await new Promise<string>((resolve) => {
        const socket = connectPlain(port, host, () => socket.end(text));
        let data = "";
        socket.on("data", (chunk: Buffer) => (data += chunk.toString("latin1")));
        socket.on("error", () => resolve(data));
        socket.on("close", () => resolve(data));
      });
      t.notMatch(got, /HTTP/);
    }
    t.ok(mesh.refused.length >= 1);
  });

  await t.test("a certificate of another CA, also with the same name", async (t) => {
    const other = await startListener(t);
    const stranger = await other.join("web");
    const client = new Client(
      `dns:///${mesh.controlPlane}`,
      controlPlaneCredentials(mesh.root.certPem, { trustDomain: "mesh.local" }, stranger),
      controlPlaneChannelOptions,
    );
    t.teardown(() => client.close());
    t.match(await registerCode(client), { code: 14 });
    t.match(mesh.refused.at(-1), /client certificate: (unknown_issuer|bad_signature)/);
  });

  await t.test("every call but Issue without a certificate", async (t) => {
    const client = new Client(
      `dns:///${mesh.controlPlane}`,
      controlPlaneCredentials(mesh.root.certPem, { trustDomain: "mesh.local" }, undefined),
      controlPlaneChannelOptions,
    );
    t.teardown(() => client.close());
    t.match(await registerCode(client), { code: 16, details: /client certificate is needed/ });
  });

  await t.test("a client takes no other service for the control plane", async (t) => {
    const svid = await mesh.join("web");
    const fake = createTlsServer({ key: svid.keyPem, cert: svid.certChainPem, ALPNProtocols: ["h2"] });
    await new Promise<void>((resolve) => fake.listen(0, "127.0.0.1", resolve));
    t.teardown(() => fake.close());
    const at = `127.0.0.1:${(fake.address() as AddressInfo).port}`;
    await t.rejects(renew(svid, { controlPlane: at, clock }), /not the control plane/);
  });

  await t.test("only TLS 1.3", async (t) => {
    const error = await new Promise<NodeJS.ErrnoException>((resolve, reject) => {
      const socket = connectTls({ host, port, maxVersion: "TLSv1.2", rejectUnauthorized: false });
      socket.on("error", resolve);
      socket.on("secureConnect", () => reject(new Error("connected")));
    });
    t.match(error.code, /ERR_SSL|ECONNRESET/);
  });
});

function registerCode(client: Client): Promise<ServiceError> {
  const { path: method, requestSerialize, responseDeserialize } = registrationService.Register;
  return new Promise((resolve, reject) => {
    const call = client.makeBidiStreamRequest(method, requestSerialize, responseDeserialize, new Metadata());
    call.on("error", (error: ServiceError) => resolve(error));
    call.on("data", () => reject(new Error("accepted")));
    call.write({ instance: declaration("web-1"), status: "passing" });
  });
}

void t.test("registration", async (t) => {
  const mesh = await startListener(t);
  const instances = () => mesh.catalog.state.get()?.services.get("web.default")?.instances ?? [];
  const until = (accept: () => boolean) => mesh.catalog.state.until(accept, AbortSignal.timeout(10_000));

  await t.test("an instance is there while its stream is", async (t) => {
    const certificates = new LatestValue<Svid | undefined>(await mesh.join("web"));
    const channel = openControlPlaneChannel({ controlPlane: mesh.controlPlane, certificates, clock });
    t.teardown(() => channel.close());
    const registration = registerEmbedded({ client: channel.client, instance: declaration("web-1"), clock });
    await registration.isRegistered.until((yes) => yes, AbortSignal.timeout(5000));
    t.match(instances(), [
      { id: "web-1", port: 8080, meshPort: 15006, status: "passing", meta: { version: "2" } },
    ]);

    registration.setStatus("critical");
    await until(() => instances()[0]?.status === "critical");

    // Over a rotation the instance is never missing.
    let isMissing = false;
    const stop = mesh.catalog.state.watch(() => (isMissing ||= instances().length !== 1));
    await registration.isRegistered.until((yes) => yes, AbortSignal.timeout(5000));
    const before = mesh.events.length;
    certificates.set(await renew(certificates.get() as Svid, { controlPlane: mesh.controlPlane, clock }));
    t.ok(mesh.events.length > before);
    registration.setStatus("passing");
    await until(() => instances()[0]?.status === "passing");
    stop();
    t.notOk(isMissing);

    await registration.close();
    t.same(instances(), [], "gone when close() has resolved");
    t.ok(mesh.catalog.state.get()?.services.has("web.default"), "the service stays known");
  });

  await t.test("a cut connection takes the instance out at once, and it comes back", async (t) => {
    const { host, port } = parseHostPort(mesh.controlPlane, "");
    const sockets = new Set<Socket>();
    const relay = createServer((client) => {
      const server = connectPlain(port, host);
      for (const socket of [client, server]) {
        sockets.add(socket);
        socket.on("error", () => undefined);
      }
      client.pipe(server).pipe(client);
    });
    await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
    t.teardown(() => relay.close());
    const controlPlane = `127.0.0.1:${(relay.address() as AddressInfo).port}`;
    const certificates = new LatestValue<Svid | undefined>(await mesh.join("web"));
    const channel = openControlPlaneChannel({ controlPlane, certificates, clock });
    t.teardown(() => channel.close());
    const registration = registerEmbedded({
      client: channel.client,
      instance: declaration("web-2"),
      clock,
      initialStatus: "warning",
    });
    await until(() => instances().some(({ id }) => id === "web-2"));
    const gone = until(() => instances().length === 0);
    for (const socket of sockets) socket.resetAndDestroy();
    await gone;
    await until(() => instances().some(({ status }) => status === "warning"));
    await registration.close();
    t.same(instances(), []);
  });

  await t.test("a connection attempt that nobody answers is given up for a new one", async (t) => {
    const hole = await startBlackHole(parseHostPort(mesh.controlPlane, "").port);
    t.teardown(() => hole.close());
    hole.swallow();
    const fake = new FakeClock();
    const certificates = new LatestValue<Svid | undefined>(await mesh.join("web"));
    const controlPlane = `127.0.0.1:${hole.port}`;
    const channel = openControlPlaneChannel({ controlPlane, certificates, clock: fake });
    t.teardown(() => channel.close());
    const registration = registerEmbedded({ client: channel.client, instance: declaration("web-5"), clock });
    t.teardown(() => registration.close());
    await eventually("a swallowed attempt", () => hole.connections > 0);
    const stuck = channel.client.get();
    fake.advance(5000);
    t.equal(channel.client.get(), stuck, "a slow one has its time");
    hole.heal();
    fake.advance(6000);
    t.not(channel.client.get(), stuck);
    await registration.isRegistered.until((yes) => yes, AbortSignal.timeout(5000));
    const connected = channel.client.get();
    fake.advance(60_000);
    t.equal(channel.client.get(), connected, "a connection is kept");
  });

  await t.test("another service's name is refused", async (t) => {
    const certificates = new LatestValue<Svid | undefined>(await mesh.join("api"));
    const channel = openControlPlaneChannel({ controlPlane: mesh.controlPlane, certificates, clock });
    t.teardown(() => channel.close());
    const problem = await new Promise<string>((resolve) => {
      const registration = registerEmbedded({
        client: channel.client,
        instance: declaration("web-3"),
        clock,
        onProblem: resolve,
      });
      t.teardown(() => registration.close());
    });
    t.match(problem, /certificate belongs to api\.default: it cannot register "web\.default"/);
    t.same(instances(), []);
  });

  await t.test("the newest stream of an instance id wins", async (t) => {
    const certificates = new LatestValue<Svid | undefined>(await mesh.join("web"));
    const channel = openControlPlaneChannel({ controlPlane: mesh.controlPlane, certificates, clock });
    t.teardown(() => channel.close());
    const problems: string[] = [];
    const first = registerEmbedded({
      client: channel.client,
      instance: declaration("web-4"),
      clock,
      onProblem: (text) => problems.push(text),
    });
    await first.isRegistered.until((yes) => yes, AbortSignal.timeout(5000));
    const second = registerEmbedded({
      client: channel.client,
      instance: { ...declaration("web-4"), meshPort: 15007 },
      clock,
    });
    await second.isRegistered.until((yes) => yes, AbortSignal.timeout(5000));
    await first.isRegistered.until((yes) => !yes, AbortSignal.timeout(5000));
    t.match(instances(), [{ id: "web-4", meshPort: 15007 }]);
    t.match(problems, [/give each sidecar its own instance id/]);
    await first.close();
    t.equal(instances().length, 1, "the replaced stream's end takes nothing away");
    await second.close();
  });
});

void t.test("a connection does not outlive its certificate", async (t) => {
  const mesh = await startListener(t, 2000);
  const svid = await mesh.join("web");
  t.equal(splitPemCertificates(svid.certChainPem).length, 1);
  const certificates = new LatestValue<Svid | undefined>(svid);
  const channel = openControlPlaneChannel({ controlPlane: mesh.controlPlane, certificates, clock });
  t.teardown(() => channel.close());
  const registration = registerEmbedded({ client: channel.client, instance: declaration("web-1"), clock });
  t.teardown(() => registration.close());
  await registration.isRegistered.until((yes) => yes, AbortSignal.timeout(5000));
  await registration.isRegistered.until((yes) => !yes, AbortSignal.timeout(5000));
  t.ok(clock.wallMs() >= svid.notAfterMs - 50);
});
