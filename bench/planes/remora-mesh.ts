import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { freePorts } from "../free-ports.js";
import { untilReady, type Processes, type Started } from "../processes.js";
import { repository } from "../program-path.js";

/** The command line, as built. */
export const remoraCommand = path.join(repository, "dist/bin/remora.js");

const controlPlaneTimeoutMs = 60_000;

export interface MeshOptions {
  readonly dir: string;
  readonly processes: Processes;
  /** YAML documents by file name. */
  readonly policies?: Readonly<Record<string, string>>;
  /** URL of Consul's agent; default the embedded registry. */
  readonly consul?: string;
}

export interface SidecarOptions {
  readonly appPort: number;
  readonly flags: readonly string[];
  /** Flags of node itself. */
  readonly nodeFlags?: readonly string[];
  /** Default: the service's name. */
  readonly stateName?: string;
  readonly hasToken?: boolean;
}

/** A control plane started by the command line, and sidecars that join it. */
export class RemoraMesh {
  readonly #dir: string;
  readonly #processes: Processes;
  readonly dataDir: string;
  readonly controlPlane: Started;
  /** host:port for sidecars. */
  readonly listen: string;
  readonly adminUrl: string;

  private constructor(options: MeshOptions, ports: { readonly listen: number; readonly admin: number }) {
    const { dir, processes, consul } = options;
    this.#dir = dir;
    this.#processes = processes;
    this.dataDir = path.join(dir, "control-plane");
    this.listen = `127.0.0.1:${ports.listen}`;
    this.adminUrl = `http://127.0.0.1:${ports.admin}`;
    this.controlPlane = processes.start("remora control-plane", process.execPath, [
      ...[remoraCommand, "control-plane", "--data-dir", this.dataDir, "--policies", policiesDir(dir)],
      ...["--listen", this.listen, "--admin", `127.0.0.1:${ports.admin}`],
      ...(consul === undefined ? [] : ["--consul", consul]),
    ]);
  }

  /** Resolves when the control plane is ready. */
  static async start(options: MeshOptions): Promise<RemoraMesh> {
    const { dir, policies = {} } = options;
    await mkdir(policiesDir(dir), { recursive: true });
    for (const [name, text] of Object.entries(policies))
      await writeFile(path.join(policiesDir(dir), name), text);
    const [listen = 0, admin = 0] = await freePorts(2);
    const mesh = new RemoraMesh(options, { listen, admin });
    await untilReady([mesh.controlPlane], controlPlaneTimeoutMs, async () => {
      const answer = await fetch(`${mesh.adminUrl}/ready`);
      if (!answer.ok) throw new Error(`control plane: ${await answer.text()}`);
    });
    return mesh;
  }

  /** A file with a fresh join token. */
  async token(service: string): Promise<string> {
    const file = path.join(this.#dir, `${service}.token`);
    await this.#processes.run(process.execPath, [
      ...[remoraCommand, "token", "create", "--service", service, "--out", file],
      ...["--admin-url", this.adminUrl, "--admin-token-file", path.join(this.dataDir, "admin.token")],
    ]);
    return file;
  }

  /** Folder of a sidecar's key, certificate and saved configuration. */
  stateDir(name: string): string {
    return path.join(this.#dir, "state", name);
  }

  /** Starts a sidecar; it is not waited for. */
  async sidecar(service: string, options: SidecarOptions): Promise<Started> {
    const { appPort, flags, nodeFlags = [], stateName = service, hasToken = true } = options;
    await mkdir(path.join(this.#dir, "state"), { recursive: true });
    const token = hasToken ? ["--token-file", await this.token(service)] : [];
    return this.#processes.start(`sidecar of ${service}`, process.execPath, [
      ...[...nodeFlags, remoraCommand, "sidecar", "--service", service, "--port", `${appPort}`],
      ...["--access-log", "off", "--control-plane", this.listen, ...token],
      ...["--state-dir", this.stateDir(stateName), "--drain-delay", "0s", ...flags],
    ]);
  }

  /** What the control plane's admin API says. Throws on any answer but 200. */
  async admin(target: string): Promise<unknown> {
    const token = (await readFile(path.join(this.dataDir, "admin.token"), "utf8")).trim();
    const answer = await fetch(`${this.adminUrl}${target}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    if (!answer.ok) throw new Error(`${target}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}

function policiesDir(dir: string): string {
  return path.join(dir, "policies");
}

/** What `remora version` says, first line. */
export async function remoraVersion(processes: Processes): Promise<string> {
  const text = await processes.run(process.execPath, [remoraCommand, "version"]);
  return text.trim().split("\n")[0] ?? "";
}
