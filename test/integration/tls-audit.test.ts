// # runs beside others
/**
 * What others' tools say of the inbound port of a real sidecar: `openssl s_client`, one row per property, and testssl.sh. TLS_AUDIT=whole (make
 * tls-audit) lets testssl.sh look at everything; else at protocols only, which takes seconds.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { startMesh } from "../support/cli-mesh.js";
import { skipWithout, tool } from "../support/security-tools.js";

const isWhole = process.env["TLS_AUDIT"] === "whole";
const mesh = await startMesh(t);
const api = await mesh.join({ name: "api", service: "api" });
const { keyFile, certFile, bundleFile } = await mesh.issue("web", path.join(mesh.dir, "web"));
const target = `127.0.0.1:${api.inbound}`;
const asWeb = ["-cert", certFile, "-key", keyFile, "-CAfile", bundleFile];

interface Handshake {
  readonly ok: boolean;
  readonly text: string;
}

/** One handshake, which ends with its input. */
function sClient(...args: readonly string[]): Handshake {
  return talk(args, "");
}

function talk(args: readonly string[], input: string): Handshake {
  const { status, stdout, stderr } = spawnSync(
    "openssl",
    ["s_client", "-connect", target, ...asWeb, ...args],
    { input, encoding: "utf8", timeout: 20_000 },
  );
  return { ok: status === 0, text: stdout + stderr };
}

t.test("row 59: protocol versions, ciphers and ALPN by openssl s_client", async (t) => {
  const rows: readonly (readonly [args: readonly string[], expected: RegExp])[] = [
    [["-tls1_3"], /New, TLSv1\.3, Cipher is TLS_AES_128_GCM_SHA256/],
    [["-tls1_2"], /alert protocol version/],
    [["-tls1_1"], /alert protocol version|no protocols available/],
    [["-tls1"], /alert protocol version|no protocols available/],
    [["-ciphersuites", "TLS_AES_128_GCM_SHA256"], /Cipher is TLS_AES_128_GCM_SHA256/],
    [["-ciphersuites", "TLS_AES_256_GCM_SHA384"], /Cipher is TLS_AES_256_GCM_SHA384/],
    [["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], /Cipher is TLS_CHACHA20_POLY1305_SHA256/],
    [["-ciphersuites", "TLS_AES_128_CCM_SHA256"], /alert handshake failure/],
    [["-ciphersuites", "TLS_AES_128_CCM_8_SHA256"], /alert handshake failure/],
    [["-ciphersuites", "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"], /Cipher is TLS_AES_128_GCM/],
    [["-alpn", "h2"], /ALPN protocol: h2/],
    [["-alpn", "http/1.1"], /ALPN protocol: http\/1\.1/],
    [["-alpn", "x"], /alert no application protocol/],
    [["-alpn", "H2"], /alert no application protocol/],
    [[], /No ALPN negotiated/],
  ];
  for (const [args, expected] of rows) {
    const { ok, text } = sClient(...args);
    t.match(text, expected, args.join(" "));
    t.equal(
      ok,
      !/alert|available/.test(expected.source),
      `${args.join(" ")}: ${ok ? "accepted" : "refused"}`,
    );
  }
});

t.test("row 59: no compression, no renegotiation, no early data, nothing to resume", async (t) => {
  const session = path.join(mesh.dir, "session");
  // What comes after the handshake is read by the time the answer has come, and the server has closed.
  const request = "GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n";
  const { ok, text } = talk(["-ign_eof", "-sess_out", session], request);
  t.ok(ok);
  t.match(text, /Verification: OK/, "the mesh's own root is all that is needed");
  t.match(text, /Compression: NONE/);
  t.match(text, /Secure Renegotiation IS NOT supported/, "TLS 1.3 has none at all");
  t.match(text, /Early data was not sent/);
  t.match(text, /Acceptable client certificate CA names\nCN = Remora Root CA\n/, "and of no other CA");
  // OpenSSL hands out the number of a session even so; nothing is kept under it.
  t.ok(existsSync(session));
  const again = talk(["-ign_eof", "-sess_in", session], request);
  t.match(again.text, /New, TLSv1\.3/);
  t.notMatch(again.text, /Reused/);
});

t.test(
  "testssl.sh finds TLS 1.3 and nothing else",
  { skip: skipWithout("testssl"), timeout: 600_000 },
  async (t) => {
    const file = path.join(mesh.dir, "testssl.json");
    const args = [
      ...["--quiet", "--color", "0", "--warnings", "off", "--connect-timeout", "5", "--openssl-timeout", "5"],
      ...["--jsonfile", file, ...(isWhole ? [] : ["-p"]), target],
    ];
    const child = spawn(tool("testssl"), args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
    let output = "";
    child.stdout.on("data", (text: Buffer) => (output += text.toString()));
    const limit = setTimeout(() => process.kill(-(child.pid ?? 0), "SIGKILL"), isWhole ? 570_000 : 180_000);
    await new Promise((resolve) => child.once("close", resolve));
    clearTimeout(limit);
    const found = JSON.parse(readFileSync(file, "utf8")) as readonly Finding[];
    if (isWhole) console.log(output);
    const finding = (id: string): string | undefined => found.find((one) => one.id === id)?.finding;
    for (const id of ["SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2"])
      t.match(finding(id), /^not offered/, `${id} is not offered`);
    t.match(finding("TLS1_3"), /^offered/);
    const alpn = found.filter(({ id }) => id === "ALPN").map((one) => one.finding);
    t.ok(alpn.includes("h2") || alpn.includes("http/1.1"), `ALPN: ${alpn.join(", ")}`);
    const bad = found.filter(({ id, severity }) => isBad(severity) && !explained.has(id));
    t.same(bad, [], "nothing that testssl.sh calls worse than low");
    t.equal(api.process.isRunning, true);
  },
);

interface Finding {
  readonly id: string;
  readonly severity: string;
  readonly finding: string;
}

const isBad = (severity: string): boolean => ["MEDIUM", "HIGH", "CRITICAL", "FATAL"].includes(severity);

/** What is right here and wrong on the web: a mesh has its own root, short lives in place of CRLs, and no host names. */
const explained: ReadonlySet<string> = new Set([
  ...["cert_chain_of_trust", "cert_trust", "cert_revocation", "cert_crlDistributionPoints", "cert_ocspURL"],
  ...["cert_expirationStatus", "cert_notAfter", "OCSP_stapling", "DNS_CAArecord", "cert_subjectAltName"],
  ...["cert_commonName_wo_SNI", "overall_grade"],
]);
