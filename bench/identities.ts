import { writeFile } from "node:fs/promises";
import path from "node:path";
import {
  createRootCa,
  defaultLeafTtlMs,
  generateKeyPem,
  issueLeaf,
  loadAuthority,
  publicKeySpki,
  readPrivateKey,
} from "../certs/index.js";

/** Files of one service's identity. */
export interface IdentityFiles {
  readonly cert: string;
  readonly key: string;
  /** Certificate and key in one file, as HAProxy wants them. */
  readonly both: string;
}

/** What the peers' two sides prove to each other with: SVIDs of one CA, as Remora's sidecars have. */
export interface Identities {
  readonly ca: string;
  readonly web: IdentityFiles;
  readonly api: IdentityFiles;
}

/** Makes a CA and identities for `web` (the caller) and `api` in `dir`. */
export async function makeIdentities(dir: string): Promise<Identities> {
  const nowMs = Date.now();
  const root = await createRootCa({ trustDomain: "bench.local", nowMs });
  const authority = loadAuthority(root.certPem, root.keyPem);
  const ca = path.join(dir, "ca.pem");
  await writeFile(ca, root.certPem);
  const make = async (service: string): Promise<IdentityFiles> => {
    const keyPem = await generateKeyPem();
    const spki = publicKeySpki(readPrivateKey(keyPem));
    const identity = { namespace: "default", service };
    const { certPem } = issueLeaf(authority, {
      identity,
      publicKeySpki: spki,
      nowMs,
      ttlMs: defaultLeafTtlMs,
    });
    const file = (end: string): string => path.join(dir, `${service}.${end}`);
    await writeFile(file("cert.pem"), certPem);
    await writeFile(file("key.pem"), keyPem, { mode: 0o600 });
    await writeFile(file("both.pem"), certPem + keyPem, { mode: 0o600 });
    return { cert: file("cert.pem"), key: file("key.pem"), both: file("both.pem") };
  };
  return { ca, web: await make("web"), api: await make("api") };
}
