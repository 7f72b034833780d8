/** What an application does with the SPIFFE Workload API when it has no SPIFFE library: gRPC on a unix socket. */
import path from "node:path";
import { credentials, loadPackageDefinition, Metadata, type Client } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

export interface X509Identity {
  readonly spiffeId: string;
  /** PEM, for tls.connect and tls.createServer. */
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

interface Stub extends Client {
  FetchX509SVID(request: object, metadata: Metadata): NodeJS.ReadableStream & { cancel(): void };
  FetchJWTSVID(request: object, metadata: Metadata, callback: Callback): void;
  ValidateJWTSVID(request: object, metadata: Metadata, callback: Callback): void;
}

type Callback = (error: Error | null, answer: unknown) => void;

interface SvidUpdate {
  readonly svids: readonly {
    readonly spiffeId: string;
    readonly x509Svid: Buffer;
    readonly x509SvidKey: Buffer;
    readonly bundle: Buffer;
  }[];
}

export class WorkloadIdentity {
  readonly #stub: Stub;
  readonly #metadata = new Metadata();

  /** `remora run --workload-api on` says where the socket is. */
  constructor(socket = process.env["SPIFFE_ENDPOINT_SOCKET"] ?? "") {
    const proto = path.resolve(import.meta.dirname, "../../../examples/workload-api/workload.proto");
    const { SpiffeWorkloadAPI: Service } = loadPackageDefinition(loadSync(proto));
    this.#stub = new (Service as unknown as new (address: string, creds: object) => Stub)(
      socket,
      credentials.createInsecure(),
    );
    // Every call must carry it.
    this.#metadata.set("workload.spiffe.io", "true");
  }

  /** Calls back now, and again with each rotation. Returns the function that ends that. */
  follow(use: (identity: X509Identity) => void): () => void {
    const stream = this.#stub.FetchX509SVID({}, this.#metadata);
    stream.on("error", () => undefined);
    stream.on("data", (update: unknown) => {
      const [svid] = (update as SvidUpdate).svids;
      if (svid === undefined) return;
      use({
        spiffeId: svid.spiffeId,
        key: pem("PRIVATE KEY", svid.x509SvidKey),
        cert: certificates(svid.x509Svid),
        ca: certificates(svid.bundle),
      });
    });
    return () => stream.cancel();
  }

  /** A token that the service `audience` takes for our identity. */
  async token(audience: string): Promise<string> {
    const answer = await this.#call((callback) =>
      this.#stub.FetchJWTSVID({ audience: [audience] }, this.#metadata, callback),
    );
    return (answer as { readonly svids: readonly { readonly svid: string }[] }).svids[0]?.svid ?? "";
  }

  /** The SPIFFE id that a token proves to `audience`. Rejects when it proves none. */
  async validate(token: string, audience: string): Promise<string> {
    const answer = await this.#call((callback) =>
      this.#stub.ValidateJWTSVID({ audience, svid: token }, this.#metadata, callback),
    );
    return (answer as { readonly spiffeId: string }).spiffeId;
  }

  close(): void {
    this.#stub.close();
  }

  #call(send: (callback: Callback) => void): Promise<unknown> {
    return new Promise((resolve, reject) =>
      send((error, answer) => (error === null ? resolve(answer) : reject(error))),
    );
  }
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** DER certificates stand one after the other; the first four bytes of each say how long it is. */
function certificates(ders: Buffer): string {
  let text = "";
  for (let at = 0; at < ders.length;) {
    const size = 4 + ders.readUInt16BE(at + 2);
    text += pem("CERTIFICATE", ders.subarray(at, at + size));
    at += size;
  }
  return text;
}
