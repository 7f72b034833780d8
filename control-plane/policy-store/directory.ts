import { makeFolder } from "../../certs/secret-file.js";
import { messageOf } from "../../src/errors/message-of.js";
import { type FSWatcher, watch } from "node:fs";
import { readdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import { type Kind, documentId } from "../../src/config/documents/document.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock, Timer } from "../../src/time/clock.js";
import { type ApplyResult, type PlannedDocument, planApply } from "./apply-plan.js";
import { changeFiles, type FileChange, temporaryPrefix, temporarySuffix } from "./atomic-files.js";
import { documentEdits, type DocumentEdit } from "./document-edits.js";
import { type LastGood, openLastGood } from "./last-good.js";
import { parseYamlDocuments } from "./parse-documents.js";
import { joinTexts, type PolicyFile, readPolicyFile } from "./policy-file.js";
import { compareAge, type DocumentName, idOf, type StoredDocument } from "./stored-document.js";

/** Something in the store that is not in force, and why. */
export interface StoreProblem {
  readonly file: string;
  /** One line, with the file's name, line and column where it has them. */
  readonly message: string;
}

export interface PolicyStoreOptions {
  readonly clock: Clock;
  /** Folder for copies of what was last right, so that a file which is wrong at a start changes nothing either. */
  readonly lastGood?: string;
  /** Documents that somebody has changed in the directory itself, also while nobody watched. */
  readonly onEdited?: (edits: readonly DocumentEdit[]) => void;
}

/** Whose change is it: of `apply` and `delete`, or of somebody at the directory? */
type By = "us" | "others";

/** Change events are hints (network file systems send none), so the directory is also read at this interval. */
const pollMs = 5000;
/** Wait after a change event, so that an editor has finished. */
const settleMs = 50;
const maxFiles = 10_000;
/** A temporary file of this age belongs to nobody any more. */
const leftoverMs = 60_000;

/**
 * The policy documents of a directory of YAML files: written by `apply`, or by hand. A file that becomes wrong keeps the
 * last good version of its documents in force and shows up in `problems`.
 */
export class PolicyStore {
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #lastGood: LastGood | undefined;
  readonly #onEdited: ((edits: readonly DocumentEdit[]) => void) | undefined;
  #files: ReadonlyMap<string, PolicyFile> = new Map();
  #watcher: FSWatcher | undefined;
  #pollTimer: Timer | undefined;
  #settleTimer: Timer | undefined;
  #isClosed = false;
  /** Reads and changes run one after another. */
  #queue: Promise<unknown> = Promise.resolve();

  /** Every document in force, oldest first. */
  readonly documents = new LatestValue<readonly StoredDocument[]>([]);
  /** What is wrong in the directory now. */
  readonly problems = new LatestValue<readonly StoreProblem[]>([]);

  private constructor(directory: string, { clock, lastGood, onEdited }: PolicyStoreOptions) {
    this.#directory = directory;
    this.#clock = clock;
    this.#lastGood = lastGood === undefined ? undefined : openLastGood(lastGood);
    this.#onEdited = onEdited;
  }

  /**
   * Opens the directory, creating it (0750) when it is absent, and reads it. The caller closes the store.
   *
   * @throws ConfigError when the directory cannot be read. A wrong file in it is no error but a problem.
   */
  static async open(directory: string, options: PolicyStoreOptions): Promise<PolicyStore> {
    const store = new PolicyStore(directory, options);
    try {
      await makeFolder(directory, 0o750);
      await readdir(directory);
    } catch (error: unknown) {
      throw new ConfigError(
        `policy directory cannot be read: ${messageOf(error)}; choose another with --policies, or change its owner`,
        { place: directory, cause: error },
      );
    }
    await store.#removeLeftovers();
    await store.#recall();
    await store.#enqueue(() => store.#read("others"));
    store.#startWatch();
    store.#schedulePoll();
    return store;
  }

  /**
   * Stores every document of `text`, or none.
   *
   * @param fileName what the text is called in errors, for example `routes.yaml` or `-`.
   * @throws DocumentError with every mistake; ConfigError when it cannot be written. Nothing has changed then.
   */
  apply(text: string, fileName: string): Promise<readonly ApplyResult[]> {
    return this.#enqueue(async () => {
      const plan = await this.#plan(text, fileName);
      const changed = plan.filter((item) => item.result.action !== "unchanged");
      if (changed.length > 0) await this.#write(changed.map(({ next, current }) => ({ next, current })));
      return plan.map((item) => item.result);
    });
  }

  /**
   * What `apply` would do, and the documents that would be in force then, had `deletions` been deleted before.
   * @throws DocumentError as that does; ConfigError for one to be deleted that there is not.
   */
  preview(
    text: string,
    fileName: string,
    deletions: readonly DocumentName[] = [],
  ): Promise<{ readonly results: readonly ApplyResult[]; readonly documents: readonly StoredDocument[] }> {
    return this.#enqueue(async () => {
      for (const { kind, namespace, name } of deletions)
        if (this.get(kind, namespace, name).length === 0) throw notFound(kind, namespace, name);
      const gone = new Set(deletions.map(({ kind, namespace, name }) => documentId(kind, namespace, name)));
      const plan = await this.#plan(text, fileName, gone);
      const replaced = new Set(plan.map(({ next }) => idOf(next.document)));
      const others = this.documents
        .get()
        .filter(({ document }) => !replaced.has(idOf(document)) && !gone.has(idOf(document)));
      return {
        results: plan.map((item) => item.result),
        documents: [...others, ...plan.map(({ next }) => next)].sort(compareAge),
      };
    });
  }

  async #plan(
    text: string,
    fileName: string,
    gone: ReadonlySet<string> = new Set(),
  ): Promise<readonly PlannedDocument[]> {
    const parsed = parseYamlDocuments(text, fileName);
    await this.#read("others");
    const stored = this.documents.get().filter(({ document }) => !gone.has(idOf(document)));
    return planApply(parsed, stored, { fileName, nowMs: this.#clock.wallMs() });
  }

  /** Documents of a kind, oldest first; of one namespace or name only, when these are given. */
  get(kind: Kind, namespace?: string, name?: string): readonly StoredDocument[] {
    return this.documents
      .get()
      .filter(
        ({ document }) =>
          document.kind === kind &&
          (namespace === undefined || document.metadata.namespace === namespace) &&
          (name === undefined || document.metadata.name === name),
      );
  }

  /** Removes a document. Resolves with whether there was one. @throws ConfigError when it cannot be removed. */
  delete(kind: Kind, namespace: string, name: string): Promise<boolean> {
    return this.#enqueue(async () => {
      await this.#read("others");
      const [current] = this.get(kind, namespace, name);
      if (current === undefined) return false;
      await this.#write([{ current, next: undefined }]);
      return true;
    });
  }

  /** Ends the watch. Changes under way are finished first. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#watcher?.close();
    this.#pollTimer?.cancel();
    this.#settleTimer?.cancel();
    await this.#queue;
  }

  async #write(
    changes: readonly {
      readonly current: StoredDocument | undefined;
      readonly next: StoredDocument | undefined;
    }[],
  ): Promise<void> {
    const texts = new Map<string, Map<string, string>>();
    for (const { current, next } of changes) {
      const name = (next ?? current)?.file ?? "";
      const file = this.#files.get(name);
      if (file !== undefined && file.problems.length > 0) {
        throw new ConfigError(`${file.problems[0]}; correct or remove the file first`, {
          place: this.#directory,
        });
      }
      let contents = texts.get(name);
      if (contents === undefined) {
        contents = new Map((file?.documents ?? []).map((stored) => [idOf(stored.document), stored.text]));
        texts.set(name, contents);
      }
      if (next !== undefined) contents.set(idOf(next.document), next.text);
      else if (current !== undefined) contents.delete(idOf(current.document));
    }
    await changeFiles(
      this.#directory,
      [...texts].map(([name, contents]): FileChange => ({
        name,
        text: contents.size === 0 ? undefined : joinTexts([...contents.values()]),
      })),
    );
    await this.#read("us");
  }

  /** What was in force before the restart: what the directory says now is a change of it. */
  async #recall(): Promise<void> {
    if (this.#lastGood === undefined) return;
    try {
      this.#files = await this.#lastGood.load();
    } catch (error: unknown) {
      const text = `what policies said before cannot be read: ${messageOf(error)}; change the owner of the data folder`;
      throw new ConfigError(text, { place: this.#directory, cause: error });
    }
    this.#publish([], "us");
  }

  /** Brings `documents` and `problems` up to date with the directory. Never throws. */
  async #read(by: By): Promise<void> {
    let names: readonly string[];
    let isOpenToAll: boolean;
    try {
      isOpenToAll = ((await stat(this.#directory)).mode & 0o002) !== 0;
      names = (await readdir(this.#directory)).filter(isPolicyFile).sort();
    } catch (error: unknown) {
      // Gone or unreadable is not the same as empty: what was in force stays.
      const message = `${this.#directory}: policy directory cannot be read: ${messageOf(error)}`;
      this.#publish([{ file: this.#directory, message }], by);
      return;
    }
    const createdBefore = new Map(
      this.documents.get().map((stored) => [idOf(stored.document), stored.createdAtMs] as const),
    );
    const files = new Map<string, PolicyFile>();
    for (const name of names.slice(0, maxFiles)) {
      files.set(name, await readPolicyFile(this.#directory, name, this.#files.get(name), createdBefore));
    }
    this.#files = files;
    const problems = await this.#keep(files);
    if (isOpenToAll) {
      const message = `${this.#directory}: everybody on this machine may write policies: run chmod o-w ${this.#directory}`;
      problems.push({ file: this.#directory, message });
    }
    if (names.length > maxFiles) {
      const message = `${names.length} files are over the limit of ${maxFiles}; the last are left out`;
      problems.push({ file: this.#directory, message });
    }
    this.#publish(problems, by);
  }

  async #keep(files: ReadonlyMap<string, PolicyFile>): Promise<StoreProblem[]> {
    try {
      await this.#lastGood?.keep(files);
      return [];
    } catch (error: unknown) {
      const message = `what policies say cannot be kept for the next start: ${messageOf(error)}`;
      return [{ file: this.#directory, message }];
    }
  }

  #publish(problems: readonly StoreProblem[], by: By): void {
    const all: StoreProblem[] = [...problems];
    const owner = new Map(this.documents.get().map((stored) => [idOf(stored.document), stored.file]));
    const inForce = new Map<string, StoredDocument>();
    for (const file of this.#files.values()) {
      for (const message of file.problems) all.push({ file: file.name, message });
      for (const stored of file.documents) {
        const id = idOf(stored.document);
        const other = inForce.get(id);
        // Of two copies the one stays that was in force, so that a backup copy changes nothing.
        const isFirst = other === undefined || owner.get(id) === file.name;
        const loser = isFirst ? other : stored;
        if (isFirst) inForce.set(id, stored);
        if (loser !== undefined) {
          const winner = isFirst ? stored : other;
          all.push({
            file: loser.file,
            message: `${loser.file}: ${id} is also in ${winner?.file}, which is in force`,
          });
        }
      }
    }
    const documents = [...inForce.values()].sort(compareAge);
    const before = this.documents.get();
    if (!isEqual(documents, before, isSameDocument)) {
      this.documents.set(documents);
      const edits = by === "us" ? [] : documentEdits(before, documents);
      if (edits.length > 0) this.#onEdited?.(edits);
    }
    const isSameProblem = (a: StoreProblem, b: StoreProblem): boolean =>
      a.file === b.file && a.message === b.message;
    if (!isEqual(all, this.problems.get(), isSameProblem)) this.problems.set(all);
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  #startWatch(): void {
    try {
      this.#watcher = watch(this.#directory, { persistent: false }, () => this.#readSoon());
      this.#watcher.on("error", () => this.#watcher?.close());
    } catch {
      // No inotify watch left (ENOSPC, EMFILE): polling alone still finds every change.
    }
  }

  #readSoon(): void {
    if (this.#isClosed) return;
    this.#settleTimer?.cancel();
    this.#settleTimer = this.#clock.timer(settleMs, () => void this.#enqueue(() => this.#read("others")));
  }

  #schedulePoll(): void {
    if (this.#isClosed) return;
    this.#pollTimer = this.#clock.timer(pollMs, () => {
      void this.#enqueue(() => this.#read("others")).then(() => this.#schedulePoll());
    });
  }

  async #removeLeftovers(): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      if (!name.startsWith(temporaryPrefix) || !name.endsWith(temporarySuffix)) continue;
      const file = path.join(this.#directory, name);
      const info = await stat(file).catch(() => undefined);
      if (info !== undefined && this.#clock.wallMs() - info.mtimeMs > leftoverMs)
        await rm(file, { force: true });
    }
  }
}

/** Text of "not found" errors. */
export function notFound(kind: Kind, namespace: string, name: string): ConfigError {
  return new ConfigError(`${documentId(kind, namespace, name)} does not exist`);
}

function isPolicyFile(name: string): boolean {
  return !name.startsWith(".") && (name.endsWith(".yaml") || name.endsWith(".yml"));
}

function isSameDocument(a: StoredDocument, b: StoredDocument): boolean {
  return a.text === b.text && a.file === b.file && a.createdAtMs === b.createdAtMs;
}

function isEqual<T>(a: readonly T[], b: readonly T[], isSame: (x: T, y: T) => boolean): boolean {
  return a.length === b.length && a.every((item, index) => isSame(item, b[index] as T));
}
