/** A mesh of real processes on free ports and in a folder of its own, started through the command line. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { CliProcess, runRemora, type Finished } from "./cli-process.js";
import { freePort } from "./free-port.js";
import { call, type Answer } from "./http-load.js";
import { until } from "./until.js";

/** Whom a mesh ends with: a test, or what stands for one. */
export interface MeshOwner {
  teardown(fn: () => unknown): void;
  passing(): boolean;
  comment(message: string): void;
}

export interface MeshOptions {
  /** Further flags of `remora control-plane`. */
  readonly controlPlane?: readonly string[];
}

export interface SidecarOptions {
  /** Also the name of its log and its state folder. */
  readonly name: string;
  readonly service: string;
  /** Names of services, each at a local port of its own. */
  readonly upstreams?: readonly string[];
  /** Default: the application of the mesh tests. [] = `remora sidecar`, nobody starts an application. */
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Further flags. */
  readonly flags?: readonly string[];
  /** host:port, when it is not the control plane's own. */
  readonly controlPlane?: string;
}

/** Paths of PEM files. */
export interface IssuedFiles {
  readonly keyFile: string;
  readonly certFile: string;
  /** Roots of the mesh. */
  readonly bundleFile: string;
}

/** What stays the same when a sidecar is started again: ports, folder, identity. */
export interface Place {
  readonly name: string;
  readonly service: string;
  /** The application's own port, past the mesh. */
  readonly app: number;
  readonly inbound: number;
  readonly admin: number;
  /** Key: name of the service. */
  readonly upstreams: ReadonlyMap<string, number>;
  readonly stateDir: string;
  /** Of `remora`. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** A place where a sidecar runs; the test sets another process when it starts it again. */
export type Running = Place & { process: CliProcess };

/** The application that the tests run in the mesh. */
export const meshApp: readonly string[] = [
  process.execPath,
  path.resolve(import.meta.dirname, "mesh-app.js"),
];
/** Long enough for every peer to have heard on a busy machine. */
const drainDelay = "1s";
const logTailBytes = 6000;

/** Starts a control plane and waits until it is ready. All processes end, and the folder goes, with the test. */
export async function startMesh(t: MeshOwner, options: MeshOptions = {}): Promise<CliMesh> {
  const dir = await mkdtemp(path.join(tmpdir(), "remora-mesh-"));
  const mesh = new CliMesh(dir, options);
  t.teardown(async () => {
    if (!t.passing()) for (const line of mesh.logTails()) t.comment(line);
    await mesh.close();
  });
  await mesh.openPorts();
  await mesh.startControlPlane();
  return mesh;
}

export class CliMesh {
  readonly dir: string;
  /** What posts to the application's ledger are written to, by all instances. */
  readonly ledger: string;
  readonly dataDir: string;
  readonly policiesDir: string;
  readonly #options: MeshOptions;
  readonly #processes = new Set<CliProcess>();
  #controlPlaneProcess: CliProcess | undefined;
  #listen = 0;
  #admin = 0;

  constructor(dir: string, options: MeshOptions) {
    this.dir = dir;
    this.#options = options;
    this.ledger = path.join(dir, "ledger");
    this.dataDir = path.join(dir, "control-plane");
    this.policiesDir = path.join(this.dataDir, "policies");
  }

  /** host:port of the control plane's gRPC listener. */
  get controlPlane(): string {
    return `127.0.0.1:${this.#listen}`;
  }

  get adminPort(): number {
    return this.#admin;
  }

  /** Flags by which the client commands find the control plane. */
  get client(): readonly string[] {
    const tokenFile = path.join(this.dataDir, "admin.token");
    return ["--admin-url", `http://127.0.0.1:${this.#admin}`, "--admin-token-file", tokenFile];
  }

  async openPorts(): Promise<void> {
    this.#listen = await this.freePort();
    this.#admin = await this.freePort();
  }

  async startControlPlane(): Promise<CliProcess> {
    const started = this.start("control-plane", [
      ...["control-plane", "--data-dir", this.dataDir, "--listen", this.controlPlane],
      ...["--admin", `127.0.0.1:${this.#admin}`, ...(this.#options.controlPlane ?? [])],
    ]);
    this.#controlPlaneProcess = started;
    await until("a control plane that is ready", () => isReady(started, this.#admin));
    return started;
  }

  /** Of the control plane that was started last. */
  get controlPlaneProcess(): CliProcess | undefined {
    return this.#controlPlaneProcess;
  }

  /** `remora <args>` with the flags that name this control plane. */
  remora(args: readonly string[], input?: string): Promise<Finished> {
    return runRemora({ args: [...args, ...this.client], ...(input === undefined ? {} : { input }) });
  }

  /** What `remora apply -f -` does, without a process of its own; rejects when it is refused. */
  async apply(documents: string): Promise<void> {
    await this.#ask("POST", "/v1/documents", documents);
  }

  /** GET of the control plane's admin API. */
  read(target: string): Promise<unknown> {
    return this.#ask("GET", target);
  }

  /** What `remora token create` does, without a process of its own: a join token in a file. */
  async token(
    service: string,
    wish: { readonly uses?: number; readonly ttl?: string } = {},
  ): Promise<string> {
    const reply = await this.#ask("POST", "/v1/tokens", JSON.stringify({ service, ...wish }));
    const file = path.join(this.dir, `token-${Math.random().toString(36).slice(2)}`);
    await writeFile(file, `${(reply as { readonly token: string }).token}\n`, { mode: 0o600 });
    return file;
  }

  async #ask(method: string, target: string, body = ""): Promise<unknown> {
    const token = (await readFile(path.join(this.dataDir, "admin.token"), "utf8")).trim();
    const headers = { authorization: `Bearer ${token}` };
    const answer = await call({ port: this.#admin, method, path: target, headers, body });
    if (answer.status >= 300) throw new Error(`${method} ${target}: ${answer.status} ${answer.body}`);
    return JSON.parse(answer.body);
  }

  /** A certificate of the mesh for somebody without a sidecar, as files in the folder `out`. */
  async issue(service: string, out: string): Promise<IssuedFiles> {
    const folders = ["--ca-dir", path.join(this.dataDir, "ca"), "--out-dir", out];
    const {
      code,
      out: text,
      err,
    } = await runRemora({
      args: ["cert", "issue", "--service", service, ...folders, "--output", "json"],
    });
    if (code !== 0) throw new Error(`remora cert issue: exit ${code}: ${err}`);
    return JSON.parse(text) as IssuedFiles;
  }

  /** Chooses ports and folder for a sidecar and its application, with a token to join. */
  async place(options: SidecarOptions): Promise<Place> {
    const { name, service, upstreams = [], command = meshApp, flags = [], env = {} } = options;
    const [app, inbound, admin] = [await this.freePort(), await this.freePort(), await this.freePort()];
    const local = new Map<string, number>();
    for (const upstream of upstreams) local.set(upstream, await this.freePort());
    const stateDir = path.join(this.dir, name);
    const args = [
      ...[command.length > 0 ? "run" : "sidecar", "--service", service, "--port", `${app}`],
      ...["--inbound", `${inbound}`, "--admin", `${admin}`, "--state-dir", stateDir],
      ...[...local].flatMap(([upstream, port]) => ["--upstream", `${upstream}:${port}`]),
      ...["--control-plane", options.controlPlane ?? this.controlPlane],
      ...["--token-file", await this.token(service, { uses: 100, ttl: "2h" })],
      ...["--drain-delay", drainDelay, ...flags],
      ...(command.length > 0 ? ["--", ...command] : []),
    ];
    const own = { PORT: `${app}`, NAME: name, LEDGER: this.ledger, ...env };
    return { name, service, app, inbound, admin, upstreams: local, stateDir, args, env: own };
  }

  /** Starts the sidecar of a place, with its application. */
  run({ name, args, env }: Place): CliProcess {
    return this.start(name, args, env);
  }

  start(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): CliProcess {
    const started = new CliProcess(this.dir, name, args, env);
    this.#processes.add(started);
    void started.exited.then(() => this.#processes.delete(started));
    return started;
  }

  /** Starts a sidecar at a new place, and waits until it and the application are ready. */
  async join(options: SidecarOptions): Promise<Running> {
    const place = await this.place(options);
    const process = this.run(place);
    await until(`${place.name} is ready`, () => isReady(process, place.admin));
    if ((options.command ?? meshApp) === meshApp)
      await until(
        `the application of ${place.name}`,
        async () => (await call({ port: place.app, path: "/count" })).status === 200,
      );
    return { ...place, process };
  }

  /** Waits until `caller` knows exactly these instances of a service. */
  async untilKnown(caller: Place, service: string, instances: readonly Place[]): Promise<void> {
    const expected = instances.map(({ inbound }) => inbound).sort();
    await until(`${caller.name} knows ${expected.length} instances of ${service}`, async () => {
      const known = await endpointPorts(caller.admin, service);
      return known.length === expected.length && expected.every((port) => known.includes(port));
    });
  }

  /** A port of 127.0.0.1 that nobody uses. */
  freePort(): Promise<number> {
    return freePort();
  }

  /** The end of each log, for the output of a test that failed. */
  logTails(): readonly string[] {
    return [...this.#processes].flatMap(({ name, log }) => [
      `--- ${name}`,
      ...log.slice(-logTailBytes).split("\n"),
    ]);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#processes].map((process) => process.kill()));
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** Ready by its admin API; throws when it has ended instead. */
async function isReady(started: CliProcess, adminPort: number): Promise<boolean> {
  if (!started.isRunning) {
    const { code, signal } = await started.exited;
    throw new Error(`${started.name} has ended: ${code ?? signal}: ${started.log.slice(-1000)}`);
  }
  return (await call({ port: adminPort, path: "/ready" })).status === 200;
}

/** Ports of the endpoints that a sidecar has for a service of namespace default. */
export async function endpointPorts(adminPort: number, service: string): Promise<readonly number[]> {
  const { body } = await call({ port: adminPort, path: "/clusters?format=json" });
  const { cluster_statuses: clusters } = JSON.parse(body) as {
    readonly cluster_statuses: readonly {
      readonly name: string;
      readonly host_statuses: readonly {
        readonly address: { readonly socket_address: { readonly port_value: number } };
      }[];
    }[];
  };
  const found = clusters.find(({ name }) => name === `${service}.default`);
  return (found?.host_statuses ?? []).map(({ address }) => address.socket_address.port_value);
}

/** Sum of the series of a sidecar's metric whose labels include `labels`. */
export async function metric(
  adminPort: number,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const { body } = await call({ port: adminPort, path: "/stats/prometheus" });
  let sum = 0;
  for (const line of body.split("\n")) {
    if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
    if (Object.entries(labels).every(([label, value]) => line.includes(`${label}="${value}"`)))
      sum += Number(line.split(" ").at(-1));
  }
  return sum;
}

/** JSON of a sidecar's admin API. */
export async function readAdmin(adminPort: number, target: string): Promise<unknown> {
  const answer: Answer = await call({ port: adminPort, path: target });
  return JSON.parse(answer.body);
}
