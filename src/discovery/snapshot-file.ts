import { messageOf } from "../errors/message-of.js";
import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import path from "node:path";
import { makeFolder, writeFileAtomic } from "../../certs/secret-file.js";
import type { Snapshot } from "../config/snapshot.js";
import type { Clock, Timer } from "../time/clock.js";
import { Fields } from "./fields.js";
import { contentTypes, resource, resourceSet, typeUrls } from "./resource.js";
import { wire } from "./wire.js";
import { decodeSnapshot, encodeSnapshot, snapshotName } from "./xds-resources.js";

export interface SnapshotFileOptions {
  /** Folder of the sidecar's state; the file is `snapshot` in it. Made (0700) if it is missing. */
  readonly stateDir: string;
  readonly clock: Clock;
  /** The file could not be read or written: one line for the log. The sidecar goes on without it. */
  readonly onProblem: (problem: string) => void;
  /** A snapshot that is larger is neither written nor read. Default 64 MiB. */
  readonly maxBytes?: number;
}

export interface SavedSnapshot {
  readonly snapshot: Snapshot;
  /** Unix time. */
  readonly savedAtMs: number;
}

/** The last good snapshot on disk, so that a sidecar serves although control plane and registry are down. */
export interface SnapshotFile {
  /** undefined when there is none, or none that can be trusted (reported to onProblem). Never rejects. */
  load(): Promise<SavedSnapshot | undefined>;
  /** Remembers the newest and writes it soon: at once if the last write was long ago, else after a pause. */
  save(snapshot: Snapshot): void;
  /** Writes what is not yet written; then save() does nothing. Never rejects. */
  close(): Promise<void>;
}

/** First word of the file. The number changes when older versions of Remora could not read it. */
const format = "remora-snapshot/1";
const defaultMaxBytes = 64 * 1024 * 1024;
/** Endpoints may change ten times a second; the disk need not. */
const pauseMs = 1000;

export function openSnapshotFile(options: SnapshotFileOptions): SnapshotFile {
  const { stateDir, clock, onProblem, maxBytes = defaultMaxBytes } = options;
  const file = path.join(stateDir, "snapshot");
  let newest: Snapshot | undefined;
  let pause: Timer | undefined;
  let writing: Promise<void> = Promise.resolve();
  let isClosed = false;

  const writeNewest = async (): Promise<void> => {
    const snapshot = newest;
    newest = undefined;
    if (snapshot === undefined) return;
    try {
      const bytes = toBytes({ snapshot, savedAtMs: clock.wallMs() });
      if (bytes.length > maxBytes) throw new Error(`${bytes.length} bytes are more than ${maxBytes}`);
      await makeFolder(stateDir, 0o700);
      await writeFileAtomic(file, bytes);
    } catch (error) {
      onProblem(`${file}: the configuration cannot be kept for a restart: ${messageOf(error)}`);
    }
  };
  const schedule = (): void => {
    if (pause !== undefined || newest === undefined) return;
    writing = writing.then(writeNewest);
    pause = clock.timer(pauseMs, () => {
      pause = undefined;
      schedule();
    });
  };

  return {
    async load() {
      try {
        return await read(file, maxBytes);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        onProblem(`${file}: not used, the control plane must be reached first: ${messageOf(error)}`);
        return undefined;
      }
    },
    save(snapshot) {
      if (isClosed) return;
      newest = snapshot;
      schedule();
    },
    async close() {
      isClosed = true;
      pause?.cancel();
      writing = writing.then(writeNewest);
      await writing;
    },
  };
}

/** `<format> <SHA-256 of the rest>\n`, then a remora.v1.SavedSnapshot. */
function toBytes({ snapshot, savedAtMs }: SavedSnapshot): Buffer {
  const resources = [...encodeSnapshot(snapshot).values()].flatMap((set) =>
    [...set.resources.values()].map(({ bytes }) => ({ type_url: set.typeUrl, value: bytes })),
  );
  const body = wire.remoraSavedSnapshot.encode({ savedAtMs, resources });
  return Buffer.concat([Buffer.from(`${format} ${digestOf(body)}\n`), body]);
}

async function read(file: string, maxBytes: number): Promise<SavedSnapshot> {
  const { size } = await stat(file);
  if (size > maxBytes) throw new Error(`${size} bytes are more than ${maxBytes}`);
  const handle = await open(file, "r");
  try {
    return fromBytes(await handle.readFile());
  } finally {
    await handle.close();
  }
}

/** Throws when the bytes are not what toBytes wrote. */
function fromBytes(bytes: Buffer): SavedSnapshot {
  const lineEnd = bytes.indexOf("\n");
  const [word, digest] = bytes.toString("latin1", 0, Math.min(lineEnd, 200)).split(" ");
  if (lineEnd === -1 || word !== format) throw new Error(`does not begin with ${format}`);
  const body = bytes.subarray(lineEnd + 1);
  if (digest !== digestOf(body)) throw new Error("checksum does not match: the file is damaged");
  const saved = Fields.decode(wire.remoraSavedSnapshot, body, "saved snapshot");
  const types = [...contentTypes, typeUrls.snapshot];
  const sets = types.map((typeUrl) => {
    const mine = saved.messages("resources").filter((any) => any.string("type_url") === typeUrl);
    // Only the snapshot's own resource has a name that is known before it is decoded; the others' come from within.
    const nameOf = (i: number): string => (typeUrl === typeUrls.snapshot ? snapshotName : String(i));
    return resourceSet(
      typeUrl,
      mine.map((any, i) => resource(nameOf(i), any.bytes("value"))),
    );
  });
  return {
    snapshot: decodeSnapshot(new Map(sets.map((set) => [set.typeUrl, set]))),
    savedAtMs: saved.number("savedAtMs", 0, Number.MAX_SAFE_INTEGER),
  };
}

function digestOf(body: Buffer): string {
  return createHash("sha256").update(body).digest("hex");
}
