import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import t, { type Test } from "tap";
import { changeFiles } from "../../../control-plane/policy-store/atomic-files.js";
import { PolicyStore } from "../../../control-plane/policy-store/directory.js";
import type { DocumentEdit } from "../../../control-plane/policy-store/document-edits.js";
import { systemClock } from "../../../src/time/clock.js";
import { FakeClock } from "../../support/fake-clock.js";

const policy = (name: string, target: string, extra = ""): string =>
  `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: ${name}}
spec:
  targetRefs: [{kind: Service, name: ${target}}] # whom
${extra === "" ? "" : `  ${extra}\n`}`;
const route = (name: string, weight: number): string =>
  `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ${name}}
spec:
  parentRefs: [{name: api}]
  rules:
  - backendRefs: [{name: api, weight: ${weight}}]
`;

async function storeIn(t: Test, files: Record<string, string> = {}) {
  const directory = t.testdir(files);
  const clock = new FakeClock();
  const store = await PolicyStore.open(directory, { clock });
  t.teardown(() => store.close());
  /** Lets the poll notice what was changed by hand. */
  const poll = async (): Promise<void> => {
    clock.advance(5000);
    // A dry run is queued behind the poll's reading.
    await store.preview("", "-");
  };
  const names = (): readonly string[] => store.documents.get().map((stored) => stored.document.metadata.name);
  return { directory, clock, store, poll, names };
}

t.test("a fault ends within a week of its apply, and one that has ended is not applied", async (t) => {
  const { store, clock, directory, poll, names } = await storeIn(t);
  const faulty = (expires: string): string =>
    policy("p", "api", `fault: {abort: {status: 503}, expires: ${expires}}`);
  const at = (ms: number): string => new Date(clock.wallMs() + ms).toISOString();
  const week = 7 * 86_400_000;
  await t.rejects(store.apply(faulty(at(week + 1000)), "f.yaml"), {
    message: `f.yaml:6:42: spec.fault.expires: ${at(week + 1000)} is more than 7 days ahead: a fault must end by itself`,
  });
  await t.rejects(store.apply(faulty(at(0)), "f.yaml"), {
    message: `f.yaml:6:42: spec.fault.expires: ${at(0)} has passed: the fault would never begin`,
  });
  t.same(names(), []);
  await store.apply(faulty(at(week)), "f.yaml");
  t.same(names(), ["p"]);
  // By hand: what has ended is read, what would not end is not.
  const file = path.join(directory, "q.yaml");
  const byHand = (expires: string): string => faulty(expires).replace("name: p", "name: q");
  writeFileSync(file, byHand("2020-01-01T00:00:00Z"));
  await poll();
  t.same(names(), ["p", "q"]);
  writeFileSync(file, byHand(new Date(Date.now() + 2 * week).toISOString()));
  await poll();
  t.match(
    store.problems.get()[0]?.message,
    /^q\.yaml:6:42: spec\.fault\.expires: .* is more than 7 days ahead/,
  );
});

t.test("apply creates, configures, and leaves alone what has not changed", async (t) => {
  const { directory, clock, store } = await storeIn(t);
  const text = `${policy("p", "api")}---\n${route("r", 1)}`;
  t.same((await store.preview(text, "f.yaml")).results, [
    { kind: "TrafficPolicy", namespace: "default", name: "p", action: "created" },
    { kind: "HTTPRoute", namespace: "default", name: "r", action: "created" },
  ]);
  t.same(readdirSync(directory), [], "a dry run writes nothing");
  t.same(store.documents.get(), []);

  await store.apply(text, "f.yaml");
  t.same(readdirSync(directory).sort(), ["HTTPRoute.default.r.yaml", "TrafficPolicy.default.p.yaml"]);
  t.equal(statSync(path.join(directory, "HTTPRoute.default.r.yaml")).mode & 0o777, 0o640);
  const stored = readFileSync(path.join(directory, "TrafficPolicy.default.p.yaml"), "utf8");
  t.match(stored, /# whom/, "comments are kept");
  t.match(stored, /remora.mesh\/created: 2026-01-01T00:00:00.000Z/);
  const createdAtMs = clock.wallMs();
  t.match(store.get("HTTPRoute", "default", "r"), [{ createdAtMs, file: "HTTPRoute.default.r.yaml" }]);

  let changes = 0;
  store.documents.watch(() => changes++);
  clock.advance(1000);
  const again = await store.apply(`${policy("p", "api")}---\n${route("r", 2)}`, "f.yaml");
  t.same(
    again.map((result) => result.action),
    ["unchanged", "configured"],
  );
  t.equal(changes, 1);
  t.match(store.get("HTTPRoute"), [
    { createdAtMs, document: { spec: { rules: [{ backendRefs: [{ weight: 2 }] }] } } },
  ]);
  t.same(store.get("HTTPRoute", "other"), []);

  const [exported] = store.get("HTTPRoute");
  t.match(
    await store.apply(exported?.text ?? "", "export"),
    [{ action: "unchanged" }],
    "what get shows, apply accepts",
  );

  const reopened = await PolicyStore.open(directory, { clock: new FakeClock() });
  t.same(reopened.documents.get(), store.documents.get(), "nothing changes over a restart");
  await reopened.close();

  t.equal(await store.delete("HTTPRoute", "default", "r"), true);
  t.equal(await store.delete("HTTPRoute", "default", "r"), false);
  t.same(readdirSync(directory), ["TrafficPolicy.default.p.yaml"]);
});

t.test("nothing is stored when anything is wrong", async (t) => {
  const { directory, store } = await storeIn(t);
  await t.rejects(store.apply(`${policy("p", "api")}---\n${route("r", -1)}`, "f.yaml"), {
    message: "f.yaml:13:39: spec.rules.0.backendRefs.0.weight: must be at least 0",
  });
  await store.apply(policy("p", "api"), "f.yaml");
  await t.rejects(store.apply(policy("q", "api"), "g.yaml"), {
    message:
      "g.yaml:5:38: spec.targetRefs.0.name: service api.default already has TrafficPolicy/default/p; change that one, or delete it first",
  });
  await t.rejects(
    store.apply(`${policy("a", "web")}---\n${policy("b", "web")}`, "g.yaml"),
    /already has TrafficPolicy\/default\/a/,
  );
  t.same(await store.apply(policy("p", "web"), "g.yaml"), [
    { kind: "TrafficPolicy", namespace: "default", name: "p", action: "configured" },
  ]);
  t.same(readdirSync(directory), ["TrafficPolicy.default.p.yaml"]);
});

t.test("files that cannot be written leave everything as it was", async (t) => {
  const directory = t.testdir({ "a.yaml": "old", dir: {} });
  // A name that is too long fails after the first file was written beside its place.
  const changes = [
    { name: "a.yaml", text: "new" },
    { name: `${"x".repeat(300)}.yaml`, text: "new" },
  ];
  await t.rejects(changeFiles(directory, changes), { name: "ConfigError", message: /nothing was stored/ });
  t.equal(readFileSync(path.join(directory, "a.yaml"), "utf8"), "old");
  t.same(readdirSync(directory).sort(), ["a.yaml", "dir"]);
  await t.rejects(changeFiles(path.join(directory, "gone"), changes), { message: /the directory is gone/ });
});

t.test(
  "a full disk is named, and nothing half written stays",
  { skip: hasSmallDisk() ? false : "no full device here" },
  async (t) => {
    const directory = t.testdir({});
    const { symlinkSync } = await import("node:fs");
    // /dev/full answers every write with ENOSPC.
    symlinkSync("/dev/full", path.join(directory, `.remora-a.yaml.${process.pid}.tmp`));
    await t.rejects(changeFiles(directory, [{ name: "a.yaml", text: "new" }]), {
      message: `${directory}: nothing was stored: the disk is full: free some space and apply again`,
    });
    t.same(readdirSync(directory), []);
  },
);

function hasSmallDisk(): boolean {
  return existsSync("/dev/full") && process.getuid?.() !== undefined;
}

t.test("a file broken by hand keeps its last good documents", async (t) => {
  const { directory, store, poll, names } = await storeIn(t, {
    "hand.yaml": `${route("a", 1)}---\n${route("b", 1)}`,
  });
  const file = path.join(directory, "hand.yaml");
  t.same(names(), ["a", "b"]);
  const before = store.documents.get();

  writeFileSync(file, `${route("a", 1)}---\n${route("b", 1).replace("rules", "ruels")}`);
  await poll();
  t.equal(store.documents.get(), before);
  t.same(store.problems.get(), [
    { file: "hand.yaml", message: 'hand.yaml:14:3: spec: unknown field "ruels"; did you mean "rules"?' },
  ]);
  await t.rejects(store.apply(route("a", 5), "f"), {
    message: /unknown field "ruels".*correct or remove the file first/,
  });

  writeFileSync(file, "");
  await poll();
  t.same(names(), ["a", "b"], "an empty file is an editor at work");
  t.match(store.problems.get(), [{ message: /is empty/ }]);

  writeFileSync(file, route("b", 7));
  await poll();
  t.same(names(), ["b"]);
  t.same(store.problems.get(), []);
  t.equal(
    store.get("HTTPRoute")[0]?.createdAtMs,
    before[1]?.createdAtMs,
    "an edited document is not younger",
  );

  rmSync(file);
  await poll();
  t.same(names(), []);
});

t.test("a file that is broken while nobody watches keeps its last good documents too", async (t) => {
  const folder = t.testdir({
    policies: { "hand.yaml": `${route("a", 1)}---\n${route("b", 1)}`, "c.yaml": route("c", 1) },
  });
  const directory = path.join(folder, "policies");
  const lastGood = path.join(folder, "last-good");
  const file = path.join(directory, "hand.yaml");
  const open = async (edits: string[] = []) => {
    const onEdited = (all: readonly DocumentEdit[]) =>
      void edits.push(...all.map((edit) => `${edit.file} ${edit.action} ${edit.name}`));
    const store = await PolicyStore.open(directory, { clock: new FakeClock(), lastGood, onEdited });
    await store.close();
    return { documents: store.documents.get(), problems: store.problems.get() };
  };
  const before = await open();
  t.equal(before.documents.length, 3);
  t.equal(statSync(lastGood).mode & 0o777, 0o700);
  for (const [how, text, message] of [
    ["a mistake", route("a", 1).replace("rules", "ruels"), /unknown field "ruels"/],
    ["half of it", `${route("a", 1)}---\nkind: HTTPR`, /hand\.yaml/],
    ["emptied", "", /is empty/],
    ["no YAML", "{{{", /hand\.yaml/],
  ] as const) {
    writeFileSync(file, text);
    const edits: string[] = [];
    const { documents, problems } = await open(edits);
    t.same(documents, before.documents, `${how}: as before the restart`);
    t.match(problems, [{ file: "hand.yaml", message }], how);
    t.same(edits, [], how);
  }
  writeFileSync(file, route("a", 2));
  rmSync(path.join(directory, "c.yaml"));
  const edits: string[] = [];
  const after = await open(edits);
  t.match(after, { documents: [{ document: { metadata: { name: "a" } } }], problems: [] });
  t.equal(after.documents.length, 1);
  t.same(
    edits,
    ["hand.yaml changed a", "hand.yaml deleted b", "c.yaml deleted c"],
    "what was changed meanwhile",
  );
  t.equal(readdirSync(lastGood).length, 1, "copies go with their files");
  // A copy that is damaged is none: the file is what counts.
  for (const name of readdirSync(lastGood)) writeFileSync(path.join(lastGood, name), "{");
  t.same((await open()).documents, after.documents);
});

t.test("who edits the folder is told of, and who applies is not", async (t) => {
  const directory = t.testdir({});
  const clock = new FakeClock();
  const edits: DocumentEdit[] = [];
  const store = await PolicyStore.open(directory, { clock, onEdited: (some) => void edits.push(...some) });
  t.teardown(() => store.close());
  await store.apply(route("a", 1), "f");
  await store.apply(route("a", 2), "f");
  await store.delete("HTTPRoute", "default", "a");
  t.same(edits, []);
  writeFileSync(path.join(directory, "b.yaml"), route("b", 1));
  // An apply that comes before the poll finds it, and it is not of its doing.
  await store.apply(route("c", 1), "f");
  t.match(edits.splice(0), [
    {
      action: "created",
      kind: "HTTPRoute",
      namespace: "default",
      name: "b",
      file: "b.yaml",
      version: /^[0-9a-f]{12}$/,
    },
  ]);
  writeFileSync(path.join(directory, "b.yaml"), route("b", 2));
  clock.advance(5000);
  await store.preview("", "-");
  t.match(edits.splice(0), [{ action: "changed", name: "b" }]);
  rmSync(path.join(directory, "b.yaml"));
  clock.advance(5000);
  await store.preview("", "-");
  t.match(edits.splice(0), [{ action: "deleted", name: "b" }]);
});

t.test("a trial without documents that are to be deleted", async (t) => {
  const { store } = await storeIn(t);
  await store.apply(`${policy("p", "api")}---\n${route("r", 1)}`, "f");
  const gone = { kind: "TrafficPolicy", namespace: "default", name: "p" } as const;
  const { documents } = await store.preview("", "-", [gone]);
  t.match(documents, [{ document: { kind: "HTTPRoute" } }]);
  t.equal(documents.length, 1);
  const { results } = await store.preview(policy("q", "api"), "-", [gone]);
  t.match(results, [{ name: "q", action: "created" }], "its target is free then");
  await t.rejects(store.preview("", "-", [{ ...gone, name: "x" }]), {
    message: "TrafficPolicy/default/x does not exist",
  });
  t.equal(store.documents.get().length, 2, "nothing was deleted");
});

t.test("documents of a file written by hand are changed in place", async (t) => {
  const { directory, store, names } = await storeIn(t, {
    "hand.yml": `# ours\n${route("a", 1)}---\n${route("b", 1)}`,
  });
  await store.apply(route("a", 9), "f");
  t.same(readdirSync(directory), ["hand.yml"]);
  t.match(store.get("HTTPRoute", "default", "a"), [
    { document: { spec: { rules: [{ backendRefs: [{ weight: 9 }] }] } } },
  ]);
  t.same([...names()].sort(), ["a", "b"]);
  await store.delete("HTTPRoute", "default", "a");
  t.same(names(), ["b"]);
  await store.delete("HTTPRoute", "default", "b");
  t.same(readdirSync(directory), [], "the last document takes its file along");
});

t.test("documents whose names only differ in where the dashes are, or late, have a file each", async (t) => {
  const { directory, store } = await storeIn(t);
  const long = `${"a".repeat(60)}.`.repeat(4);
  const named = ["a-b", "a.b", `${long}x`, `${long}y`].map((name) => route(name, 1));
  const other = route("b", 1).replace("{name: b}", "{name: b, namespace: default-a}");
  await store.apply([...named, other].join("---\n"), "f");
  t.equal(readdirSync(directory).length, 5);
  t.equal(store.documents.get().length, 5);
});

t.test("a copy of a document changes nothing and is named", async (t) => {
  const { directory, store, poll } = await storeIn(t, { "b.yaml": route("a", 1) });
  writeFileSync(path.join(directory, "a.yaml"), route("a", 2));
  await poll();
  t.match(store.documents.get(), [{ file: "b.yaml" }]);
  t.same(store.problems.get(), [
    { file: "a.yaml", message: "a.yaml: HTTPRoute/default/a is also in b.yaml, which is in force" },
  ]);
});

t.test("a directory that is gone does not empty the store", async (t) => {
  const { directory, store, poll, names } = await storeIn(t, { "a.yaml": route("a", 1) });
  renameSync(directory, `${directory}-away`);
  await poll();
  t.same(names(), ["a"]);
  t.match(store.problems.get(), [{ message: /cannot be read/ }]);
  await t.rejects(store.apply(route("b", 1), "f"), { message: /the directory is gone/ });
  renameSync(`${directory}-away`, directory);
  await poll();
  t.same(store.problems.get(), []);
});

t.test("a directory that everybody may write to is a problem that is named", async (t) => {
  const { directory, store, poll, names } = await storeIn(t, { "a.yaml": route("a", 1) });
  chmodSync(directory, 0o777);
  await poll();
  t.match(store.problems.get(), [
    { message: /: everybody on this machine may write policies: run chmod o-w / },
  ]);
  t.same(names(), ["a"]);
  chmodSync(directory, 0o755);
  await poll();
  t.same(store.problems.get(), []);
});

t.test("temporary files, hidden files, folders and oversized files are no documents", async (t) => {
  const { directory, store, poll, names } = await storeIn(t, {
    ".remora-x.yaml.1.tmp": "half",
    ".hidden.yaml": "half",
    "notes.txt": "half",
    "folder.yaml": {} as unknown as string,
    "big.yaml": "#".repeat(1024 * 1024 + 1),
    "a.yaml": route("a", 1),
  });
  t.same(names(), ["a"]);
  t.same(
    store.problems.get().map((problem) => problem.message),
    ["big.yaml: 1048577 bytes are over the limit of 1048576; split the file", "folder.yaml: is not a file"],
  );
  utimesSync(path.join(directory, ".remora-x.yaml.1.tmp"), 0, 0);
  await poll();
  const reopened = await PolicyStore.open(directory, { clock: systemClock });
  await reopened.close();
  t.notOk(existsSync(path.join(directory, ".remora-x.yaml.1.tmp")), "leftovers of a crash are removed");
});

t.test("a directory that cannot be made is an operator's mistake", async (t) => {
  const directory = t.testdir({ file: "x" });
  await t.rejects(PolicyStore.open(path.join(directory, "file"), { clock: systemClock }), {
    name: "ConfigError",
    message: /policy directory cannot be read.*--policies/,
  });
  const made = path.join(directory, "new");
  const store = await PolicyStore.open(made, { clock: systemClock });
  t.equal(statSync(made).mode & 0o777, 0o750);
  await store.close();
});

t.test("a change by hand takes effect without waiting for the poll", async (t) => {
  const directory = t.testdir({});
  const store = await PolicyStore.open(directory, { clock: systemClock });
  t.teardown(() => store.close());
  // Neither the watch nor the clock keeps a process alive.
  const alive = setInterval(() => undefined, 1000);
  t.teardown(() => clearInterval(alive));
  const signal = AbortSignal.timeout(4000); // below the poll's 5 s
  const changed = store.documents.until((documents) => documents.length === 1, signal);
  writeFileSync(path.join(directory, "x.yaml"), route("x", 1));
  t.match(await changed, [{ file: "x.yaml" }]);
});
