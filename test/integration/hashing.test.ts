// # runs beside others
/** Real processes: a hub asks a service on behalf of many callers, told apart by their certificates or by their addresses. */
import http, { type IncomingMessage } from "node:http";
import https from "node:https";
import { readFile } from "node:fs/promises";
import path from "node:path";
import t, { type Test } from "tap";
import { startMesh, type Running } from "../support/cli-mesh.js";
import { until } from "../support/until.js";

const mesh = await startMesh(t);

/** A sidecar for an application in this process. */
async function join(
  service: string,
  name: string,
  answer: (request: IncomingMessage) => Promise<string>,
  upstreams: readonly string[] = [],
): Promise<Running> {
  const place = await mesh.place({ name, service, command: [], upstreams });
  const server = http.createServer((request, response) => {
    void answer(request).then((text) => response.end(text));
  });
  await new Promise<void>((resolve) => server.listen(place.app, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  return { ...place, process: mesh.run(place) };
}

const get = (options: https.RequestOptions, client: typeof http | typeof https = http): Promise<string> =>
  new Promise((resolve, reject) => {
    const request = client.request({ host: "127.0.0.1", agent: false, ...options }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("end", () =>
        resolve(response.statusCode === 200 ? text : `${response.statusCode} ${text}`),
      );
    });
    request.once("error", reject);
    request.end();
  });

const names = ["api-1", "api-2", "api-3"];
const apis = await Promise.all(names.map((name) => join("api", name, () => Promise.resolve(name))));
/** What every tracing library does: it forwards the trace. */
const forward = async ({ headers }: IncomingMessage): Promise<string> => {
  const { traceparent } = headers;
  const port = hub.upstreams.get("api") ?? 0;
  return get({ port, headers: typeof traceparent === "string" ? { traceparent } : {} });
};
const hub: Running = await join("hub", "hub", forward, ["api"]);
await mesh.untilKnown(hub, "api", apis);

const policy = (hashPolicy: string): Promise<void> =>
  mesh.apply(`
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: api }
spec:
  targetRefs: [{ kind: Service, name: api }]
  loadBalancer: { policy: maglev, hashPolicy: [${hashPolicy}] }
---
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: hub }
spec: { targetRefs: [{ kind: Service, name: hub }], mtls: { mode: PERMISSIVE } }
`);

let traces = 0;
const traced = (): Readonly<Record<string, string>> => ({
  traceparent: `00-${(++traces).toString(16).padStart(32, "0")}-00f067aa0ba902b7-01`,
});
type Caller = (headers: Readonly<Record<string, string>>) => Promise<string>;

/** Each caller stays at one instance, and not all of them at the same. */
async function untilKept(t: Test, callers: readonly Caller[]): Promise<void> {
  const rounds = async (): Promise<readonly (readonly string[])[]> =>
    Promise.all(
      callers.map(async (caller) => {
        const answers = await Promise.all(Array.from({ length: 8 }, () => caller(traced())));
        return [...new Set(answers)];
      }),
    );
  await until("callers that stay", async () => (await rounds()).every((seen) => seen.length === 1));
  const kept = await rounds();
  t.same(kept, await rounds(), "and they stay there");
  for (const seen of kept) t.ok(seen.length === 1 && names.includes(seen[0] ?? ""), seen.join());
  t.ok(new Set(kept.flat()).size > 1, "callers are spread");
}

t.test("sourceIdentity: by the certificate of who called the hub", async (t) => {
  await policy("{ sourceIdentity: true }");
  const callers = await Promise.all(
    Array.from({ length: 8 }, async (_, n): Promise<Caller> => {
      const files = await mesh.issue(`caller-${n}`, path.join(mesh.dir, `caller-${n}`));
      const [key, cert, ca] = await Promise.all(
        [files.keyFile, files.certFile, files.bundleFile].map((file) => readFile(file)),
      );
      const tls = { key, cert, ca, ALPNProtocols: ["http/1.1"], checkServerIdentity: () => undefined };
      return (headers) => get({ ...tls, port: hub.inbound, headers }, https);
    }),
  );
  await untilKept(t, callers);
  const untraced = await Promise.all(callers.map((caller) => caller({})));
  t.equal(new Set(untraced).size, 1, "what nobody can tell apart has the identity of the hub itself");
});

t.test("sourceIP: by the address that called the hub", async (t) => {
  await policy("{ sourceIP: true }");
  const callers = Array.from(
    { length: 12 },
    (_, n): Caller =>
      (headers) =>
        get({ port: hub.inbound, localAddress: `127.0.0.${n + 2}`, headers }),
  );
  await untilKept(t, callers);
});
