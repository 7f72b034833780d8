/** A sidecar and a real control plane in one process: joining, rotating, and living on when it is gone. */
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import t from "tap";
import { startControlPlane, type ControlPlane } from "../../control-plane/index.js";
import { loadSvid } from "../../src/identity/svid-file.js";
import { call } from "../support/http-load.js";
import { startFromDisk, temporaryFolder } from "../support/sidecar-kit.js";
import { until } from "../support/until.js";

t.test("joins, rotates, keeps what it has on the disk, and outlives the control plane", async (t) => {
  const dir = await temporaryFolder(t);
  const controlPlane = await startControlPlane({
    dataDir: dir,
    listen: "127.0.0.1:0",
    admin: "127.0.0.1:0",
    logLevel: "silent",
    leafTtlMs: 6000,
  });
  t.teardown(() => controlPlane.close());
  const admin = Number(controlPlane.adminAddress.split(":")[1]);
  const bearer = readFileSync(controlPlane.adminTokenFile, "utf8").trim();
  const answer = await call({
    port: admin,
    method: "POST",
    path: "/v1/tokens",
    headers: { authorization: `Bearer ${bearer}` },
    body: JSON.stringify({ service: "web" }),
  });
  const { token } = JSON.parse(answer.body) as { token: string };
  const tokenFile = path.join(dir, "web.token");
  await writeFile(tokenFile, token, { mode: 0o600 });
  const stateDir = await temporaryFolder(t);
  const place = {
    svid: null,
    stateDir,
    tokenFile,
    controlPlane: controlPlane.listenAddress,
    upstreams: [{ service: "api", port: 0 }],
  };

  const web = await startFromDisk(t, "web", place);
  await web.missing.until((missing) => missing.length === 0);
  t.equal(web.identity, "spiffe://mesh.local/ns/default/svc/web");
  const first = await loadSvid(stateDir);
  t.equal(first?.id, web.identity, "the first certificate is on the disk before it is used");
  const served = async () => {
    const certs = JSON.parse((await call({ port: web.ports.admin, path: "/certs" })).body) as {
      certificates: { cert_chain: { serial_number: string }[] }[];
    };
    return certs.certificates[0]?.cert_chain[0]?.serial_number;
  };
  await until("a rotation that is on the disk", async () => {
    const onDisk = (await loadSvid(stateDir))?.serial;
    return onDisk !== first?.serial && onDisk === (await served());
  });
  const metrics = await call({ port: web.ports.admin, path: "/metrics" });
  t.match(metrics.body, /^remora_certificate_not_served_total 0$/m, "the check found the new one");
  t.notMatch(metrics.body, /^remora_peer_refusals_total/m, "and is no refused peer");
  t.notMatch(web.logged.join("\n"), /^error/m);

  await controlPlane.close();
  await until("it is told that the control plane is gone", () =>
    web.logged.some((line) => line.startsWith("warn control plane lost")),
  );
  t.match(await call({ port: web.ports.admin, path: "/ready" }), { status: 200 });
  await web.close();

  // The join token is used up and nobody answers: what is on the disk must do.
  const again = await startFromDisk(t, "web", place);
  t.same(again.missing.get(), []);
  t.match(JSON.parse((await call({ port: again.ports.admin, path: "/server_info" })).body), {
    config: { stale: true },
  });
});

t.test("a certificate that expired while nobody could renew it is replaced by a new token", async (t) => {
  const dir = await temporaryFolder(t);
  const settings = { dataDir: dir, admin: "127.0.0.1:0", logLevel: "silent", leafTtlMs: 2000 } as const;
  const newToken = async ({ adminAddress, adminTokenFile }: ControlPlane): Promise<void> => {
    const bearer = readFileSync(adminTokenFile, "utf8").trim();
    const answer = await call({
      port: Number(adminAddress.split(":")[1]),
      method: "POST",
      path: "/v1/tokens",
      headers: { authorization: `Bearer ${bearer}` },
      body: JSON.stringify({ service: "web" }),
    });
    const { token } = JSON.parse(answer.body) as { token: string };
    await writeFile(tokenFile, token, { mode: 0o600 });
  };
  const tokenFile = path.join(dir, "web.token");
  const first = await startControlPlane({ ...settings, listen: "127.0.0.1:0" });
  await newToken(first);
  const stateDir = await temporaryFolder(t);
  const controlPlane = first.listenAddress;
  const web = await startFromDisk(t, "web", { svid: null, stateDir, tokenFile, controlPlane });
  await web.missing.until((missing) => missing.length === 0);
  await first.close();
  await until(
    "the end of its certificate",
    async () => ((await loadSvid(stateDir))?.notAfterMs ?? 0) < Date.now(),
  );
  const expired = await loadSvid(stateDir);

  const second = await startControlPlane({ ...settings, listen: controlPlane });
  t.teardown(() => second.close());
  await until("it says that the old token does not help", () =>
    web.logged.some((line) => line.includes("renewal failed") && line.includes("join token")),
  );
  await newToken(second);
  const renewed = await until("a new certificate", async () => {
    const svid = await loadSvid(stateDir);
    return svid?.serial === expired?.serial ? undefined : svid;
  });
  t.equal(renewed.id, web.identity);
  await web.close();
});
