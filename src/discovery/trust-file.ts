import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import path from "node:path";
import { writeFileAtomic } from "../../certs/secret-file.js";
import { messageOf } from "../errors/message-of.js";
import type { MeshTrust } from "../identity/mesh-trust.js";
import { decodeTrust, encodeTrust } from "./trust-resource.js";

/** First word of the file. The number changes when older versions of Remora could not read it. */
const format = "remora-trust/1";
const maxBytes = 64 * 1024 * 1024;

/** Whom the mesh believes, on disk: revocations and federations hold while the control plane is down. */
export interface TrustFile {
  /** undefined when there is none, or none that can be read (reported to onProblem). Never rejects. */
  load(): Promise<MeshTrust | undefined>;
  /** One after the other; of several that wait, only the newest is written. Never throws. */
  save(trust: MeshTrust): void;
  /** Resolves when the newest is written. Never rejects. */
  close(): Promise<void>;
}

export function openTrustFile(stateDir: string, onProblem: (problem: string) => void): TrustFile {
  const file = path.join(stateDir, "trust");
  let newest: MeshTrust | undefined;
  let writing: Promise<void> = Promise.resolve();
  const write = async (): Promise<void> => {
    const trust = newest;
    newest = undefined;
    if (trust === undefined) return;
    try {
      await writeFileAtomic(file, toBytes(trust));
    } catch (error) {
      onProblem(`${file}: whom the mesh believes cannot be kept for a restart: ${messageOf(error)}`);
    }
  };
  return {
    async load() {
      try {
        return await read(file);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        onProblem(`${file}: not used until the control plane answers: ${messageOf(error)}`);
        return undefined;
      }
    },
    save(trust) {
      newest = trust;
      writing = writing.then(write);
    },
    close: () => writing,
  };
}

/** `<format> <SHA-256 of the rest>\n`, then a remora.v1.Trust. */
function toBytes(trust: MeshTrust): Buffer {
  const body = encodeTrust(trust);
  return Buffer.concat([Buffer.from(`${format} ${digestOf(body)}\n`), body]);
}

async function read(file: string): Promise<MeshTrust> {
  const { size } = await stat(file);
  if (size > maxBytes) throw new Error(`${size} bytes are more than ${maxBytes}`);
  const handle = await open(file, "r");
  try {
    const bytes = await handle.readFile();
    const lineEnd = bytes.indexOf("\n");
    const [word, digest] = bytes.toString("latin1", 0, Math.min(lineEnd, 200)).split(" ");
    if (lineEnd === -1 || word !== format) throw new Error(`does not begin with ${format}`);
    const body = bytes.subarray(lineEnd + 1);
    if (digest !== digestOf(body)) throw new Error("checksum does not match: the file is damaged");
    return decodeTrust(body);
  } finally {
    await handle.close();
  }
}

function digestOf(body: Buffer): string {
  return createHash("sha256").update(body).digest("hex");
}
