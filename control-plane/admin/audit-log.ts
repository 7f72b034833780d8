import type { Clock } from "../../src/time/clock.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { openJsonLines, type JsonLines } from "../json-lines.js";
import type { DocumentEdit } from "../policy-store/document-edits.js";

/** One change that was asked of the admin API, or made in the policy folder: a line of the log. */
export interface AuditEntry {
  /** ISO 8601. */
  readonly at: string;
  /** Name of the token, or `policy folder`. */
  readonly who: string;
  /** "": nobody was asked for one. */
  readonly role: string;
  /** Address that it came from. */
  readonly from: string;
  /** Method and path. */
  readonly request: string;
  /** Of the answer; 200 and 201 are done, all others changed nothing. */
  readonly status: number;
  /** What was changed, or why nothing was. Never a secret. */
  readonly what: unknown;
}

/** Who changed what in the control plane. */
export interface AuditLog {
  /**
   * Before a change: are all earlier ones on the disk?
   * @throws ConfigError when one cannot be written: no change is made that could not be recorded.
   */
  ready(): Promise<void>;
  /** After it. @throws ConfigError; it is then written before the next change. */
  record(entry: AuditEntry): Promise<void>;
  /** The newest `limit`, newest first. */
  newest(limit: number): Promise<readonly AuditEntry[]>;
}

/** Of one entry; the rest is counted. */
const maxEdits = 100;

/** Documents that somebody has changed with an editor: who that was, the operating system knows. */
export function entryOfEdits(edits: readonly DocumentEdit[], nowMs: number): AuditEntry {
  const files = [...new Set(edits.map(({ file }) => file))];
  const more = edits.length - maxEdits;
  return {
    at: new Date(nowMs).toISOString(),
    who: "policy folder",
    role: "",
    from: "",
    request: `edit of ${files.slice(0, 3).join(", ")}${files.length > 3 ? ` and ${files.length - 3} more` : ""}`,
    status: 200,
    what: { edited: edits.slice(0, maxEdits), ...(more > 0 && { more }) },
  };
}

/** Parts whose entries are younger are never dropped. */
const keptMs = 90 * 86_400_000;
/** Changes under way at once when the disk became full. */
const maxUnwritten = 1000;

/** The log in `<dataDir>/audit.jsonl`. */
export function openAuditLog(dataDir: string, clock: Clock): AuditLog {
  const lines: JsonLines<AuditEntry> = openJsonLines({
    folder: dataDir,
    name: "audit",
    what: "the audit log",
    parse: parseEntry,
    neededUntilMs: ({ at }) => Date.parse(at) + keptMs,
    clock,
  });
  let unwritten: AuditEntry[] = [];
  return {
    async ready() {
      const due = unwritten;
      unwritten = [];
      try {
        for (const entry of due) await lines.append(entry);
      } catch (error: unknown) {
        unwritten = [...due, ...unwritten].slice(0, maxUnwritten);
        const { message } = error as Error;
        throw new ConfigError(`nothing was changed, as it could not be recorded: ${message}`, {
          cause: error,
        });
      }
    },
    async record(entry) {
      try {
        await lines.append(entry);
      } catch (error: unknown) {
        unwritten = [...unwritten, entry].slice(0, maxUnwritten);
        throw error;
      }
    },
    async newest(limit) {
      let found: AuditEntry[] = [];
      for await (const entry of lines.read()) {
        found.push(entry);
        if (found.length >= 2 * limit) found = found.slice(-limit);
      }
      return found.slice(-limit).reverse();
    },
  };
}

const texts = ["at", "who", "role", "from", "request"] as const;

function parseEntry(value: unknown): AuditEntry | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const entry = value as Readonly<Record<string, unknown>>;
  const isEntry =
    texts.every((name) => typeof entry[name] === "string") && typeof entry["status"] === "number";
  return isEntry && !Number.isNaN(Date.parse(String(entry["at"]))) ? (value as AuditEntry) : undefined;
}
