/** What the application learns of the mesh from its environment. */
export interface AppMesh {
  /** SPIFFE id. */
  readonly identity: string;
  /** Host-routed port on 127.0.0.1; undefined: there is none. */
  readonly outbound: number | undefined;
  /** Key: the service as `--upstream` named it; its port on 127.0.0.1. */
  readonly upstreams: ReadonlyMap<string, number>;
  /** Those of them that speak raw TCP. */
  readonly tcpUpstreams: ReadonlySet<string>;
  /** Path of the SPIFFE Workload API's socket; absent: there is none. */
  readonly workloadApi?: string | undefined;
}

/**
 * The application's environment: `own` and
 * - `<SERVICE>_URL=http://127.0.0.1:<port>` per upstream, `tcp://` where it speaks raw TCP; the name in upper case with `_`
 *   for `-` and `.`;
 * - `HTTP_PROXY` and `http_proxy`, the host-routed port (curl reads only the lower-case one for http, against "httpoxy");
 * - `NO_PROXY` and `no_proxy`, loopback, unless set: calls to the upstream ports must not go through the proxy too;
 * - `REMORA_IDENTITY`;
 * - `SPIFFE_ENDPOINT_SOCKET`, where SPIFFE libraries look for the Workload API, if there is one.
 */
export function appEnvironment(own: NodeJS.ProcessEnv, mesh: AppMesh): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = { ...own, REMORA_IDENTITY: mesh.identity };
  if (mesh.workloadApi !== undefined) environment["SPIFFE_ENDPOINT_SOCKET"] = `unix://${mesh.workloadApi}`;
  for (const [service, port] of mesh.upstreams) {
    const scheme = mesh.tcpUpstreams.has(service) ? "tcp" : "http";
    environment[`${service.replace(/[-.]/g, "_").toUpperCase()}_URL`] = `${scheme}://127.0.0.1:${port}`;
  }
  if (mesh.outbound === undefined) return environment;
  const proxy = `http://127.0.0.1:${mesh.outbound}`;
  const direct = own["NO_PROXY"] ?? own["no_proxy"] ?? "localhost,127.0.0.1,::1";
  return { ...environment, HTTP_PROXY: proxy, http_proxy: proxy, NO_PROXY: direct, no_proxy: direct };
}
