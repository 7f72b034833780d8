/** Sidecars in this process, started from what they find on their disk, without a control plane. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Test } from "tap";
import {
  createRootCa,
  generateKeyPem,
  issueLeaf,
  loadAuthority,
  publicKeySpki,
  readPrivateKey,
} from "../../certs/index.js";
import { startSidecar } from "../../src/app.js";
import type { Bootstrap } from "../../src/config/bootstrap.js";
import type { EndpointConfig, Snapshot } from "../../src/config/snapshot.js";
import { openSnapshotFile } from "../../src/discovery/snapshot-file.js";
import { assembleSvid } from "../../src/identity/assemble-svid.js";
import { saveSvid } from "../../src/identity/svid-file.js";
import type { Svid } from "../../src/identity/svid.js";
import type { Sidecar } from "../../src/sidecar.js";
import { systemClock } from "../../src/time/clock.js";
import { exampleEndpoint, exampleSnapshot, type ExampleOptions } from "./example-snapshot.js";

/** The one of example-snapshot.ts. */
export const trustDomain = "mesh.local";

async function makeAuthority() {
  const { certPem, keyPem } = await createRootCa({ trustDomain, nowMs: Date.now() - 86_400_000 });
  return loadAuthority(certPem, keyPem);
}

let authority: ReturnType<typeof makeAuthority> | undefined;

/** A new identity of the mesh of this process. `issuedAtMs` and `ttlMs` as of now and an hour. */
export async function identityOf(
  service: string,
  { issuedAtMs = Date.now(), ttlMs = 3_600_000 } = {},
): Promise<Svid> {
  const ca = await (authority ??= makeAuthority());
  const keyPem = await generateKeyPem();
  const { certPem } = issueLeaf(ca, {
    identity: { namespace: "default", service },
    publicKeySpki: publicKeySpki(readPrivateKey(keyPem)),
    nowMs: issuedAtMs,
    ttlMs,
  });
  return assembleSvid({ certChainPem: certPem, keyPem, bundlePem: ca.certPem });
}

/** example-snapshot.ts with the endpoints of `api` at these ports. */
export function snapshotTo(
  ports: readonly number[],
  options: Partial<ExampleOptions> = {},
  change: Partial<EndpointConfig> = {},
): Snapshot {
  const snapshot = exampleSnapshot({ version: `to ${ports.join(" ")}`, ...options });
  const endpoints = ports.map((port) => ({ ...exampleEndpoint(`api-${port}`, port), ...change }));
  return { ...snapshot, endpoints: new Map([...snapshot.endpoints, ["api.default", endpoints]]) };
}

export async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "remora-sidecar-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export function bootstrapOf(service: string, stateDir: string, change: Partial<Bootstrap> = {}): Bootstrap {
  return {
    service,
    namespace: "default",
    appAddress: "127.0.0.1",
    appPort: 1,
    protocol: "http",
    upstreams: [],
    outboundPort: undefined,
    inboundPort: 0,
    inboundAddress: "127.0.0.1",
    advertiseAddress: "127.0.0.1",
    adminPort: 0,
    // Discard: nobody listens there.
    controlPlane: "127.0.0.1:9",
    tokenFile: undefined,
    stateDir,
    zone: "",
    meta: {},
    accessLog: { format: "json", path: path.join(stateDir, "access.log") },
    registration: { kind: "none" },
    drainTimeoutMs: 2000,
    drainDelayMs: 0,
    ...change,
  };
}

export interface KitOptions extends Partial<Bootstrap> {
  /** On the disk when it starts; undefined: none. */
  readonly saved?: Snapshot;
  /** Default: a fresh one of the service; null: none. */
  readonly svid?: Svid | null;
}

export interface KitSidecar extends Sidecar {
  readonly stateDir: string;
  /** `level message {fields}`, oldest first. */
  readonly logged: string[];
  /** Lines of the access log; complete after close(). */
  accessLog(): Promise<Record<string, unknown>[]>;
}

/** Closed with the test. */
export async function startFromDisk(t: Test, service: string, options: KitOptions = {}): Promise<KitSidecar> {
  const { saved, svid, ...change } = options;
  const stateDir = options.stateDir ?? (await temporaryFolder(t));
  const bootstrap = bootstrapOf(service, stateDir, change);
  if (svid !== null) await saveSvid(stateDir, svid ?? (await identityOf(service)));
  if (saved !== undefined) await saveSnapshot(stateDir, saved);
  const logged: string[] = [];
  const sidecar = await startSidecar({
    bootstrap,
    log: (level, message, fields) => void logged.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`),
    logLevel: { get: () => "info", set: () => true },
    onQuit: () => undefined,
  });
  t.teardown(() => sidecar.close());
  return {
    ports: sidecar.ports,
    tcpUpstreams: sidecar.tcpUpstreams,
    workloadApi: sidecar.workloadApi,
    missing: sidecar.missing,
    identity: sidecar.identity,
    announce: () => sidecar.announce(),
    withdraw: () => sidecar.withdraw(),
    drainInbound: () => sidecar.drainInbound(),
    close: () => sidecar.close(),
    stateDir,
    logged,
    async accessLog() {
      const text = await readFile(bootstrap.accessLog.path, "utf8");
      return text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    },
  };
}

async function saveSnapshot(stateDir: string, snapshot: Snapshot): Promise<void> {
  const problems: string[] = [];
  const file = openSnapshotFile({
    stateDir,
    clock: systemClock,
    onProblem: (problem) => problems.push(problem),
  });
  file.save(snapshot);
  await file.close();
  if (problems.length > 0) throw new Error(problems.join("; "));
}
