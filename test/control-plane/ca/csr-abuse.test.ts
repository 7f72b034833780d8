/** Row 62 of the catalogue of attacks: requests for certificates that ask for more than their sender may have. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { Client, Metadata, status, type ServiceError } from "@grpc/grpc-js";
import t, { type Test } from "tap";
import { splitPemCertificates, toPem } from "../../../certs/bundle.js";
import { parseCertificate, type Certificate } from "../../../certs/certificate.js";
import { createCsr } from "../../../certs/csr.js";
import { generateKeyPem } from "../../../certs/keys.js";
import type { ControlPlane } from "../../../control-plane/index.js";
import {
  controlPlaneChannelOptions,
  controlPlaneCredentials,
} from "../../../src/discovery/control-plane-tls.js";
import { enrollmentService } from "../../../src/discovery/proto/enrollment.js";
import type { Svid } from "../../../src/identity/svid.js";
import { systemClock as clock } from "../../../src/time/clock.js";
import { joinMesh, newToken, startMeshHead } from "../../support/started-control-plane.js";

/** Sends exactly this request, by right of `svid` or of a token. */
function ask(mesh: ControlPlane, svid: Svid, csrPem: string, token = ""): Promise<Certificate> {
  const key = token === "" ? svid : undefined;
  const client = new Client(
    `dns:///${mesh.listenAddress}`,
    controlPlaneCredentials(svid.bundlePem, { trustDomain: "mesh.local" }, key),
    controlPlaneChannelOptions,
  );
  const { path: method, requestSerialize, responseDeserialize } = enrollmentService.Issue;
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      method,
      requestSerialize,
      responseDeserialize,
      { csrPem, token },
      new Metadata(),
      (error, answer) => {
        client.close();
        const [der] = splitPemCertificates(answer?.certChainPem ?? "");
        if (error !== null || der === undefined) reject(error ?? new Error("no certificate"));
        else resolve(parseCertificate(der));
      },
    );
  });
}

let made = 0;
/** A request that openssl makes, with what an attacker would put into it. */
function opensslCsr(
  t: Test,
  wishes: { subject?: string; extensions?: readonly string[]; key?: readonly string[] },
): string {
  const file = path.join(t.testdirName, `request-${made++}`);
  const key = wishes.key ?? ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
  execFileSync(
    "openssl",
    [
      ...["req", "-new", "-nodes", "-batch", ...key, "-keyout", `${file}.key`, "-out", `${file}.csr`],
      ...["-subj", wishes.subject ?? "/CN=web"],
      ...(wishes.extensions ?? []).flatMap((one) => ["-addext", one]),
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  return readFileSync(`${file}.csr`, "utf8");
}

t.test("row 62: whatever a request says, its sender gets its own name and nothing else", async (t) => {
  t.testdir();
  const mesh = await startMeshHead(t, path.join(t.testdirName, "data"));
  const web = await joinMesh(mesh, "web");
  const victim = "spiffe://mesh.local/ns/default/svc/payments";
  const cases: readonly (readonly [name: string, csr: string])[] = [
    ["the id of another service", opensslCsr(t, { extensions: [`subjectAltName=URI:${victim}`] })],
    [
      "its own id and another one",
      opensslCsr(t, { extensions: [`subjectAltName=URI:${web.id},URI:${victim}`] }),
    ],
    [
      "the control plane's id",
      opensslCsr(t, { extensions: ["subjectAltName=URI:spiffe://mesh.local/ns/remora/svc/control-plane"] }),
    ],
    [
      "DNS and IP names",
      opensslCsr(t, { extensions: ["subjectAltName=DNS:payments.default,DNS:*.default,IP:10.0.0.1"] }),
    ],
    [
      "an URI inside another name",
      opensslCsr(t, { extensions: [`subjectAltName=email:${victim.replace(/[:/]/g, "")}@x.y,DNS:x`] }),
    ],
    ["a common name of another", opensslCsr(t, { subject: "/CN=payments/CN=admin/O=spiffe:mesh.local" })],
    ["a common name with a NUL and quotes", opensslCsr(t, { subject: '/CN=web", URI:spiffe:x' })],
    [
      "a CA",
      opensslCsr(t, {
        extensions: ["basicConstraints=critical,CA:TRUE,pathlen:9", "keyUsage=critical,keyCertSign,cRLSign"],
      }),
    ],
    [
      "ten years of life",
      opensslCsr(t, {
        extensions: [
          "2.5.29.16=DER:3022180F32303230303130313030303030305A810F32303530303130313030303030305A",
        ],
      }),
    ],
    ["code signing", opensslCsr(t, { extensions: ["extendedKeyUsage=codeSigning,emailProtection"] })],
  ];
  for (const [name, csr] of cases) {
    for (const token of ["", await newToken(mesh, "web")]) {
      const leaf = await ask(mesh, web, csr, token);
      const by = `${name}, by ${token === "" ? "certificate" : "token"}`;
      t.same(leaf.subjectAltNames, [{ type: "uri", value: web.id }], by);
      t.equal(leaf.subjectCommonName, "web");
      t.equal(leaf.isCa, false);
      t.same([...(leaf.keyUsage ?? [])], ["digitalSignature"]);
      t.same(leaf.extendedKeyUsage, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
      t.ok(leaf.notAfterMs <= clock.wallMs() + 86_401_000, "a day at most");
      t.same(leaf.unknownCritical, []);
    }
  }
  const log = readFileSync(path.join(t.testdirName, "data", "ca", "issued.jsonl"), "utf8");
  t.notMatch(log, /payments|admin/, "the log has the names that were given");
});

t.test("row 62: a request that is wrong is refused, and costs no token", async (t) => {
  t.testdir();
  const mesh = await startMeshHead(t, path.join(t.testdirName, "data"));
  const web = await joinMesh(mesh, "web");
  const good = createCsr(await generateKeyPem());
  const der = Buffer.from(good.replace(/-----[^-]+-----|\s/g, ""), "base64");
  const spoilt = Buffer.from(der);
  spoilt[spoilt.length - 3] = (spoilt[spoilt.length - 3] ?? 0) ^ 1;
  const pem = (bytes: Buffer): string => toPem("CERTIFICATE REQUEST", bytes);
  const noise = (size: number): Buffer =>
    Buffer.concat(
      Array.from({ length: Math.ceil(size / 64) }, (_, at) => createHash("sha512").update(`${at}`).digest()),
    );
  const cases: readonly (readonly [name: string, csr: string, says: RegExp])[] = [
    ["RSA-512", opensslCsr(t, { key: ["-newkey", "rsa:512"] }), /RSA under 2048 bits/],
    ["RSA-1024", opensslCsr(t, { key: ["-newkey", "rsa:1024"] }), /RSA under 2048 bits/],
    ["RSA-2048", opensslCsr(t, { key: ["-newkey", "rsa:2048"] }), /use ECDSA P-256/],
    [
      "a curve that is not ours",
      opensslCsr(t, { key: ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"] }),
      /key/,
    ],
    [
      "explicit curve parameters",
      opensslCsr(t, {
        key: ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"],
      }),
      /key/,
    ],
    ["a signature of somebody else", pem(spoilt), /not signed with its own key/],
    ["half of one", pem(der.subarray(0, der.length >> 1)), /request/],
    ["one with bytes after it", pem(Buffer.concat([der, Buffer.from("more")])), /request/],
    ["an empty text", "", /no CERTIFICATE REQUEST block/],
    ["a certificate", web.certChainPem, /no CERTIFICATE REQUEST block/],
    ["random octets", pem(noise(400)), /request/],
    ["deep nesting", pem(Buffer.alloc(4000, Buffer.from([0x30, 0x80]))), /request/],
    ["a length that lies", pem(Buffer.from("308204ff0201", "hex")), /request/],
    ["20 KiB", pem(noise(20_000)), /request of \d+ bytes/],
    ["1 MiB", pem(noise(1_000_000)), /request of \d+ bytes/],
  ];
  for (const [name, csr, says] of cases) {
    const token = await newToken(mesh, "web");
    for (const proof of ["", token]) {
      const error = await ask(mesh, web, csr, proof).then(
        () => undefined,
        (reason: unknown) => reason as ServiceError,
      );
      t.equal(error?.code, status.INVALID_ARGUMENT, `${name}: ${error?.details}`);
      t.match(error?.details, says);
      t.ok((error?.details.length ?? 0) < 300, "does not repeat the request");
    }
    t.ok(await ask(mesh, web, good, token), `${name}: the token is still good`);
    await new Promise((resolve) => clock.timer(150, () => resolve(undefined))); // renewals are limited
  }
  const huge = await ask(mesh, web, "x".repeat(8 * 1024 * 1024)).then(
    () => undefined,
    (reason: unknown) => reason as ServiceError,
  );
  t.ok(
    huge?.code === status.RESOURCE_EXHAUSTED ||
      huge?.code === status.UNAVAILABLE ||
      huge?.code === status.INTERNAL,
    `8 MiB: ${huge?.code} ${huge?.details}`,
  );
  t.ok(await ask(mesh, web, good), "and it is served on");
});

t.test("row 62: the same request again gives the same name, and is in the log again", async (t) => {
  const dataDir = path.join(t.testdir(), "data");
  const mesh = await startMeshHead(t, dataDir);
  const web = await joinMesh(mesh, "web");
  const api = await joinMesh(mesh, "api");
  const csr = createCsr(await generateKeyPem());
  const first = await ask(mesh, web, csr);
  const replayed = await ask(mesh, api, csr);
  t.same(first.subjectAltNames, [{ type: "uri", value: web.id }]);
  t.same(
    replayed.subjectAltNames,
    [{ type: "uri", value: api.id }],
    "somebody else's request gives nothing of theirs",
  );
  t.not(first.serial, replayed.serial);
});
