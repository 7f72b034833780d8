/** The demo's mesh: a control plane on the embedded registry, web, three instances of api (one slow) and one of api-v2. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { freePorts, run, start, stopAll, until } from "./processes.js";
import { call } from "./traffic.js";

export interface Instance {
  readonly name: string;
  /** The application's own port, past the mesh. */
  readonly port: number;
  readonly inbound: number;
  readonly admin: number;
}

export interface Mesh {
  readonly dir: string;
  readonly apis: readonly Instance[];
  readonly apiV2: Instance;
  readonly web: Instance;
  readonly controlPlaneArgs: readonly string[];
  /** Feeds a document to `remora apply -f -`. */
  apply(document: string): Promise<string>;
  /** Ends all processes; the folder with their logs goes too unless `keepLogs`. */
  close(keepLogs: boolean): Promise<void>;
}

const service = (file: string): string => path.join(import.meta.dirname, file);

export async function startMesh(): Promise<Mesh> {
  const dir = await mkdtemp(path.join(tmpdir(), "remora-demo-"));
  const [listen = 0, admin = 0, upstream = 0, ...rest] = await freePorts(18);
  const dataDir = path.join(dir, "control-plane");
  const client = [
    "--admin-url",
    `http://127.0.0.1:${admin}`,
    "--admin-token-file",
    path.join(dataDir, "admin.token"),
  ];
  start(dir, "control-plane", [
    "control-plane",
    "--data-dir",
    dataDir,
    "--listen",
    `127.0.0.1:${listen}`,
    "--admin",
    `127.0.0.1:${admin}`,
  ]);
  await until("control plane", 15_000, async () =>
    (await call(admin, "/ready")).status === 200 ? true : undefined,
  );

  const ports = (): number => rest.pop() ?? 0;
  const instance = async (
    name: string,
    of: string,
    flags: readonly string[],
    env: Readonly<Record<string, string>>,
  ): Promise<Instance> => {
    const tokenFile = path.join(dir, `${name}.token`);
    await run(["token", "create", "--service", of, "--out", tokenFile, ...client]);
    const made = { name, port: ports(), inbound: ports(), admin: ports() };
    start(
      dir,
      name,
      [
        ...[
          "run",
          "--service",
          of,
          "--port",
          `${made.port}`,
          "--inbound",
          `${made.inbound}`,
          "--admin",
          `${made.admin}`,
        ],
        ...[
          "--control-plane",
          `127.0.0.1:${listen}`,
          "--token-file",
          tokenFile,
          "--state-dir",
          path.join(dir, name),
        ],
        ...[
          "--drain-delay",
          "0s",
          ...flags,
          "--",
          process.execPath,
          service(of === "web" ? "web-service.js" : "api-service.js"),
        ],
      ],
      { PORT: `${made.port}`, NAME: name, ...env },
    );
    return made;
  };
  const apis = await Promise.all([
    instance("api-1", "api", [], {}),
    instance("api-2", "api", [], {}),
    instance("api-3", "api", [], { DELAY_MS: "60" }),
  ]);
  const apiV2 = await instance("api-v2-1", "api-v2", [], {});
  const web = await instance("web-1", "web", ["--upstream", `api:${upstream}`], {});
  await until("web reaches every instance of api", 20_000, async () => {
    const { body } = await call(web.admin, "/clusters?format=json");
    const missing = apis.some(({ inbound }) => !body.includes(`${inbound}`));
    return !missing && (await call(web.port, "/")).status === 200 ? true : undefined;
  });
  return {
    dir,
    apis,
    apiV2,
    web,
    controlPlaneArgs: client,
    apply: (document) => run(["apply", "-f", "-", ...client], document),
    async close(keepLogs) {
      await stopAll();
      if (!keepLogs) await rm(dir, { recursive: true, force: true });
    },
  };
}
