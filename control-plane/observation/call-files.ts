import { readdir, readFile, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { isServiceName } from "../../certs/spiffe-id.js";
import { makePrivateFolder, writeFileAtomic } from "../../certs/secret-file.js";
import { messageOf } from "../../src/errors/message-of.js";
import type { Clock } from "../../src/time/clock.js";
import type { ObservedCall } from "../../src/policy/call-recorder.js";
import { CallTable, type SeenCall, type ServiceCalls, type ServiceName } from "./call-table.js";
import { readCall } from "./read-report.js";

export interface CallFilesOptions {
  /** Folder (0700) with a file per service. */
  readonly dir: string;
  readonly clock: Clock;
  /** One line, for the log. */
  readonly onProblem: (text: string) => void;
}

/** What sidecars have reported, kept over restarts. */
export interface CallFiles {
  readonly table: CallTable;
  /** As the table's; it is on disk within half a minute. */
  report(who: ServiceName, calls: readonly ObservedCall[], lost: number): number;
  /** Writes what is new. */
  close(): Promise<void>;
}

/** What a crash loses. */
const writeEveryMs = 30_000;
/** Far more than the longest that is written. */
const maxFileBytes = 8 * 1024 * 1024;

/** Reads the folder. A damaged file is put aside with a line in the log: the calls of its service are observed anew. */
export async function openCallFiles({ dir, clock, onProblem }: CallFilesOptions): Promise<CallFiles> {
  const table = new CallTable();
  await makePrivateFolder(dir);
  for (const name of (await readdir(dir)).filter((each) => each.endsWith(".json")).sort()) {
    const file = path.join(dir, name);
    const known = await readCallFile(file);
    if (known !== undefined) table.restore(known);
    else {
      await rename(file, `${file}.damaged`);
      onProblem(`${file} is damaged and put aside: the calls of this service are observed anew`);
    }
  }
  /** Key: name of the file. */
  let changed = new Map<string, ServiceName>();
  let writing = Promise.resolve();
  let isFailing = false;

  const write = async (): Promise<void> => {
    const services = changed;
    changed = new Map();
    for (const [name, who] of services) {
      try {
        await writeCallFile(path.join(dir, name), table.of(who));
        isFailing = false;
      } catch (error: unknown) {
        changed.set(name, who);
        if (!isFailing) onProblem(`observed calls cannot be written: ${messageOf(error)}`);
        isFailing = true;
      }
    }
  };
  const writeSoon = (): Promise<void> => (writing = writing.then(write));
  const mark = (who: ServiceName): void => void changed.set(fileNameOf(who), who);
  const turn = (): void => {
    for (const who of table.expire(clock.wallMs())) mark(who);
    void writeSoon();
    timer = clock.timer(writeEveryMs, turn);
  };
  let timer = clock.timer(writeEveryMs, turn);

  return {
    table,
    report(who, calls, lost) {
      mark(who);
      return table.report(who, calls, lost, clock.wallMs());
    },
    async close() {
      timer.cancel();
      await writeSoon();
    },
  };
}

/** No name has a tilde. */
function fileNameOf({ service, namespace }: ServiceName): string {
  return `${namespace}~${service}.json`;
}

async function writeCallFile(file: string, known: ServiceCalls | undefined): Promise<void> {
  if (known === undefined) await rm(file, { force: true });
  else await writeFileAtomic(file, `${JSON.stringify({ version: 1, ...known })}\n`);
}

/** undefined: it is damaged. */
async function readCallFile(file: string): Promise<ServiceCalls | undefined> {
  try {
    if ((await stat(file)).size > maxFileBytes) return undefined;
    return parse(JSON.parse(await readFile(file, "utf8")) as Partial<ServiceCalls> & { version?: unknown });
  } catch (error: unknown) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function parse(value: (Partial<ServiceCalls> & { readonly version?: unknown }) | null): ServiceCalls {
  const { version, service = "", namespace = "", sinceMs = NaN, lastReportMs = NaN, lost = 0 } = value ?? {};
  const calls: unknown = value?.calls;
  const isKnown =
    version === 1 &&
    isServiceName(service) &&
    isServiceName(namespace) &&
    [sinceMs, lastReportMs, lost].every(Number.isSafeInteger);
  if (!isKnown || !Array.isArray(calls)) throw new SyntaxError("no observed calls");
  return {
    ...{ service, namespace, sinceMs, lastReportMs, lost },
    calls: calls.map((each: SeenCall) => {
      const { firstSeenMs, lastSeenMs } = each;
      const call = readCall(each);
      if (typeof call === "string" || ![firstSeenMs, lastSeenMs].every(Number.isSafeInteger))
        throw new SyntaxError("no observed call");
      return { ...call, firstSeenMs, lastSeenMs };
    }),
  };
}
