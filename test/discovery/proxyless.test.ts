/** A program without a sidecar: gRPC's own xDS client (grpc-js-xds) dials a service through our control plane. */
import { Client, Server, ServerCredentials, credentials } from "@grpc/grpc-js";
import t from "tap";
import { startAds } from "../support/ads-harness.js";
import { exampleEndpoint, exampleSnapshot } from "../support/example-snapshot.js";

const identity = (bytes: Buffer): Buffer => bytes;
const path = "/test.Who/Are";

/** A gRPC server that answers every call with its name. */
async function startBackend(name: string): Promise<{ readonly port: number; close(): void }> {
  const server = new Server();
  const method = {
    path,
    requestStream: false as const,
    responseStream: false as const,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  };
  server.addService(
    { Are: method },
    {
      Are: (_call: unknown, callback: (error: null, value: Buffer) => void) =>
        callback(null, Buffer.from(name)),
    },
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return { port, close: () => server.forceShutdown() };
}

t.test("gRPC's xDS client reaches a service and follows its endpoints", async (t) => {
  const [first, second] = [await startBackend("first"), await startBackend("second")];
  const snapshotTo = (port: number, version: string): ReturnType<typeof exampleSnapshot> => ({
    ...exampleSnapshot({ version }),
    endpoints: new Map([["api.default", [exampleEndpoint("api-1", port)]]]),
  });
  const ads = await startAds(snapshotTo(first.port, "v1"));
  process.env["GRPC_XDS_BOOTSTRAP_CONFIG"] = JSON.stringify({
    xds_servers: [
      {
        server_uri: `127.0.0.1:${ads.port}`,
        channel_creds: [{ type: "insecure" }],
        server_features: ["xds_v3"],
      },
    ],
    node: { id: "program-1", cluster: "program", locality: { region: "", zone: "a", sub_zone: "" } },
    certificate_providers: {
      default: {
        plugin_name: "file_watcher",
        config: { ca_certificate_file: "/dev/null", refresh_interval: "60s" },
      },
    },
  });
  const xds = await import("@grpc/grpc-js-xds");
  xds.register();
  const client = new Client("xds:///api.default", credentials.createInsecure());
  t.teardown(() => {
    client.close();
    ads.close();
    first.close();
    second.close();
  });
  const ask = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const deadline = new Date(Date.now() + 10_000);
      client.makeUnaryRequest(path, identity, identity, Buffer.alloc(0), { deadline }, (error, value) =>
        error === null ? resolve(String(value)) : reject(error),
      );
    });

  t.equal(await ask(), "first");
  t.match(ads.service.sessions(), [{ node: { id: "program-1", service: "program", namespace: "default" } }]);
  ads.snapshot.set(snapshotTo(second.port, "v2"));
  const answers = [];
  while (answers.at(-1) !== "second" && answers.length < 1000) answers.push(await ask());
  t.equal(answers.at(-1), "second");
  t.equal(ads.service.sessions()[0]?.state, "SYNCED", "it refused nothing");
});
