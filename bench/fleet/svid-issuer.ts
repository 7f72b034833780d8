import { readFile } from "node:fs/promises";
import path from "node:path";
import {
  defaultLeafTtlMs,
  generateKeyPem,
  issueLeaf,
  loadAuthority,
  publicKeySpki,
  readPrivateKey,
} from "../../certs/index.js";
import { assembleSvid } from "../../src/identity/assemble-svid.js";
import type { Svid } from "../../src/identity/svid.js";

/**
 * Certificates for many sidecars without a join token for each, from the control plane's own CA. One key serves all: they
 * differ in their names, which is what the control plane looks at.
 */
export async function openSvidIssuer(dataDir: string): Promise<(service: string) => Svid> {
  const file = (name: string): Promise<string> => readFile(path.join(dataDir, "ca", name), "utf8");
  const [rootPem, rootKeyPem] = await Promise.all([file("root.crt"), file("root.key")]);
  const authority = loadAuthority(rootPem, rootKeyPem);
  const keyPem = await generateKeyPem();
  const spki = publicKeySpki(readPrivateKey(keyPem));
  return (service) => {
    const { certPem } = issueLeaf(authority, {
      identity: { namespace: "default", service },
      publicKeySpki: spki,
      nowMs: Date.now(),
      ttlMs: defaultLeafTtlMs,
    });
    return assembleSvid({ certChainPem: certPem, keyPem, bundlePem: rootPem });
  };
}
