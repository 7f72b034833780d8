/** The demo's mesh: a control plane on the embedded registry, web, three instances of api (one slow) and one of api-v2. */
import path from "node:path";
import { SmallMesh, type Instance } from "../small-mesh.js";
import { freePorts } from "./free-ports.js";
import { until } from "./processes.js";
import { call } from "./traffic.js";

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

export async function startMesh(): Promise<Mesh> {
  const mesh = await SmallMesh.start();
  const [upstream = 0] = await freePorts(1);
  const instance = (
    name: string,
    service: string,
    flags: readonly string[],
    env: Readonly<Record<string, string>>,
  ): Promise<Instance> => {
    const file = service === "web" ? "web-service.js" : "api-service.js";
    const command = () => [process.execPath, path.join(import.meta.dirname, file)];
    return mesh.serve({ name, service, command, flags, env });
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
    dir: mesh.dir,
    apis,
    apiV2,
    web,
    controlPlaneArgs: mesh.client,
    apply: (document) => mesh.apply(document),
    close: (keepLogs) => mesh.close(keepLogs),
  };
}
