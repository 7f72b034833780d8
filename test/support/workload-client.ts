/** A client of the SPIFFE Workload API that shares nothing with the server: generated from the .proto beside it. */
import path from "node:path";
import { credentials, loadPackageDefinition, Metadata, type Client, type ServiceError } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { toPem } from "../../certs/bundle.js";

/** The messages under their names in the standard. */
export interface X509Svid {
  readonly spiffe_id: string;
  readonly x509_svid: Buffer;
  readonly x509_svid_key: Buffer;
  readonly bundle: Buffer;
}

export interface X509SvidUpdate {
  readonly svids: readonly X509Svid[];
  readonly federated_bundles: Readonly<Record<string, Buffer>>;
}

export interface BundlesUpdate {
  readonly bundles: Readonly<Record<string, Buffer>>;
}

type Stream<T> = AsyncIterable<T> & {
  cancel(): void;
  on(event: "error", listener: (error: Error) => void): void;
};
type Unary = (
  request: object,
  metadata: Metadata,
  callback: (error: ServiceError | null, answer: unknown) => void,
) => void;

interface Stub extends Client {
  FetchX509SVID(request: object, metadata: Metadata): Stream<X509SvidUpdate>;
  FetchX509Bundles(request: object, metadata: Metadata): Stream<BundlesUpdate>;
  FetchJWTBundles(request: object, metadata: Metadata): Stream<BundlesUpdate>;
  FetchJWTSVID: Unary;
  ValidateJWTSVID: Unary;
}

const proto = path.resolve(import.meta.dirname, "../../../examples/workload-api/workload.proto");

/** One connection to a Workload API; the caller closes it. */
export class WorkloadClient {
  readonly #stub: Stub;
  readonly #metadata = new Metadata();

  /** @param headers the metadata of each call; default the one that the standard demands. */
  constructor(socket: string, headers: Readonly<Record<string, string>> = { "workload.spiffe.io": "true" }) {
    const loaded = loadPackageDefinition(loadSync(proto, { keepCase: true, defaults: true }));
    const service = loaded["SpiffeWorkloadAPI"] as unknown as new (address: string, creds: object) => Stub;
    this.#stub = new service(`unix:${socket}`, credentials.createInsecure());
    for (const [name, value] of Object.entries(headers)) this.#metadata.set(name, value);
  }

  x509Svids(): Stream<X509SvidUpdate> {
    return this.#stub.FetchX509SVID({}, this.#metadata);
  }

  x509Bundles(): Stream<BundlesUpdate> {
    return this.#stub.FetchX509Bundles({}, this.#metadata);
  }

  jwtBundles(): Stream<BundlesUpdate> {
    return this.#stub.FetchJWTBundles({}, this.#metadata);
  }

  /** The tokens by their SPIFFE id. */
  async jwtSvids(audience: readonly string[], spiffeId = ""): Promise<ReadonlyMap<string, string>> {
    const answer = (await this.#call("FetchJWTSVID", { audience, spiffe_id: spiffeId })) as {
      readonly svids: readonly { readonly spiffe_id: string; readonly svid: string }[];
    };
    return new Map(answer.svids.map(({ spiffe_id, svid }) => [spiffe_id, svid]));
  }

  async validate(
    audience: string,
    svid: string,
  ): Promise<{ readonly spiffe_id: string; readonly claims: unknown }> {
    return (await this.#call("ValidateJWTSVID", { audience, svid })) as {
      readonly spiffe_id: string;
      readonly claims: unknown;
    };
  }

  close(): void {
    this.#stub.close();
  }

  #call(method: "FetchJWTSVID" | "ValidateJWTSVID", request: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#stub[method](request, this.#metadata, (error, answer) => {
        if (error === null) resolve(answer);
        else reject(error);
      });
    });
  }
}

/** The first message of a stream, which is then cancelled. */
export async function firstOf<T>(stream: Stream<T>): Promise<T> {
  // A cancelled stream ends with an error that nobody waits for.
  stream.on("error", () => undefined);
  for await (const message of stream) {
    stream.cancel();
    return message;
  }
  throw new Error("the stream ended without a message");
}

/** DER certificates, one after the other, as PEM. */
export function certificatesPem(ders: Buffer): string {
  let text = "";
  for (let at = 0; at < ders.length;) {
    const size = 4 + ders.readUInt16BE(at + 2); // all have more than 255 bytes and less than 65536
    text += toPem("CERTIFICATE", ders.subarray(at, at + size));
    at += size;
  }
  return text;
}
