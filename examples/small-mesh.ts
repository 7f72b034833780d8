/** What the examples share: a control plane, on the embedded registry unless the example brings one, and applications that join its mesh by `remora run`. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { freePorts } from "./demo/free-ports.js";
import { run, start, stopAll, until } from "./demo/processes.js";
import { call } from "./demo/traffic.js";

export interface Application {
  /** Also the name of its log. */
  readonly name: string;
  readonly service: string;
  /** Program and arguments; it finds its port in PORT, its name in NAME. */
  readonly command: (port: number) => readonly string[];
  /** Further flags of `remora run`. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Instance {
  readonly name: string;
  /** The application's own port, past the mesh. */
  readonly port: number;
  readonly inbound: number;
  readonly admin: number;
}

/** Starts the registry, with its logs in `dir`; resolves with the control plane's flags for it. */
export type StartRegistry = (dir: string) => Promise<readonly string[]>;

export class SmallMesh {
  readonly dir: string;
  readonly #controlPlane: string;
  readonly #admin: string;

  private constructor(dir: string, listen: number, admin: number) {
    this.dir = dir;
    this.#controlPlane = `127.0.0.1:${listen}`;
    this.#admin = `127.0.0.1:${admin}`;
  }

  /** Starts the control plane and waits until it is ready. */
  static async start(startRegistry: StartRegistry = async () => []): Promise<SmallMesh> {
    const dir = await mkdtemp(path.join(tmpdir(), "remora-example-"));
    const registry = await startRegistry(dir);
    const [listen = 0, admin = 0] = await freePorts(2);
    const mesh = new SmallMesh(dir, listen, admin);
    const addresses = ["--listen", mesh.#controlPlane, "--admin", mesh.#admin];
    start(dir, "control-plane", [
      "control-plane",
      "--data-dir",
      path.join(dir, "control-plane"),
      ...addresses,
      ...registry,
    ]);
    await until("control plane", 15_000, async () =>
      (await call(admin, "/ready")).status === 200 ? true : undefined,
    );
    return mesh;
  }

  /** Flags by which the client commands find the control plane. */
  get client(): readonly string[] {
    const token = path.join(this.dir, "control-plane", "admin.token");
    return ["--admin-url", `http://${this.#admin}`, "--admin-token-file", token];
  }

  /** Starts an application that others call, with its sidecar. */
  async serve(application: Application): Promise<Instance> {
    const { name, env } = application;
    const [port = 0, inbound = 0, admin = 0] = await freePorts(3);
    const ports = ["--port", `${port}`, "--inbound", `${inbound}`, "--admin", `${admin}`];
    const args = await this.#args(application, ports, port);
    start(this.dir, name, args, { PORT: `${port}`, NAME: name, ...env });
    return { name, port, inbound, admin };
  }

  /** Runs an application that only calls others to its end, with its sidecar; resolves with its output. */
  async runToEnd(application: Application): Promise<string> {
    const [port = 0] = await freePorts(1);
    return run(await this.#args(application, ["--port", `${port}`], port));
  }

  /** Waits until so many instances are registered. */
  async untilRegistered(instances: number): Promise<void> {
    const token = (await readFile(path.join(this.dir, "control-plane", "admin.token"), "utf8")).trim();
    const url = `http://${this.#admin}/v1/status`;
    await until(`${instances} registered instances`, 30_000, async () => {
      const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
      const { registry } = (await response.json()) as { readonly registry: { readonly instances: number } };
      return registry.instances === instances ? true : undefined;
    });
  }

  /** Waits until `caller` has so many instances of a service. */
  async untilKnown(caller: Instance, service: string, instances: number): Promise<void> {
    await until(`${caller.name} knows ${instances} of ${service}`, 30_000, async () => {
      const known = await endpointStates(caller, service);
      return known.length === instances ? true : undefined;
    });
  }

  /** Feeds documents to `remora apply -f -`. */
  apply(documents: string): Promise<string> {
    return run(["apply", "-f", "-", ...this.client], documents);
  }

  /** Ends all processes; the folder with their logs goes too unless `keepLogs`. */
  async close(keepLogs: boolean): Promise<void> {
    await stopAll();
    if (!keepLogs) await rm(this.dir, { recursive: true, force: true });
  }

  async #args(
    { name, service, command, flags = [] }: Application,
    ports: readonly string[],
    port: number,
  ): Promise<string[]> {
    const tokenFile = path.join(this.dir, `${name}.token`);
    await run(["token", "create", "--service", service, "--out", tokenFile, ...this.client]);
    return [
      ...["run", "--service", service, ...ports, "--control-plane", this.#controlPlane],
      ...["--token-file", tokenFile, "--state-dir", path.join(this.dir, name)],
      ...["--drain-delay", "0s", ...flags, "--", ...command(port)],
    ];
  }
}

/** What a sidecar says of each instance of a service, as `curl /clusters` shows it: `healthy`, or what is wrong. */
export async function endpointStates(caller: Instance, service: string): Promise<readonly string[]> {
  const { body } = await call(caller.admin, "/clusters");
  return [...body.matchAll(/^(\S+?)::\S+::health_flags::(.*)$/gm)]
    .filter(([, cluster]) => cluster === `${service}.default`)
    .map(([, , flags = ""]) => flags);
}

/** Shows an example: starts a mesh, runs `body`, ends everything. Exit code 0 only if `body` resolved. */
export async function show(
  body: (mesh: SmallMesh) => Promise<void>,
  startRegistry?: StartRegistry,
): Promise<void> {
  let mesh: SmallMesh | undefined;
  try {
    mesh = await SmallMesh.start(startRegistry);
    await body(mesh);
  } catch (error) {
    process.exitCode = 1;
    console.error(`Not seen: ${error instanceof Error ? error.message : String(error)}`);
    if (mesh !== undefined) console.error(`Logs: ${mesh.dir}`);
  }
  await (mesh?.close(process.exitCode === 1) ?? stopAll());
}
