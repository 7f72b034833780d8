/** The supervisor with real child processes, around a sidecar that does what the test says. */
import { EventEmitter } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import t from "tap";
import { supervise, type SuperviseOptions } from "../../src/supervise/supervise.js";
import { systemClock } from "../../src/time/clock.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedSidecar } from "../support/scripted-sidecar.js";

interface Scene {
  readonly sidecar: ScriptedSidecar;
  readonly signals: EventEmitter;
  readonly logs: string[];
  readonly dir: string;
  run(options: Partial<SuperviseOptions>): Promise<number>;
  /** A Node program that runs `body`, then listens at a socket in `dir` as its port. */
  app(body: string): readonly string[];
}

function scene(t: { teardown(fn: () => void): void }): Scene {
  // Not t.testdir(): the path of a socket has at most 107 bytes (unix(7)).
  const dir = mkdtempSync(path.join(tmpdir(), "remora-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const sidecar = new ScriptedSidecar();
  sidecar.missing.set([]);
  const signals = new EventEmitter();
  const logs: string[] = [];
  const socket = path.join(dir, "app.sock");
  return {
    sidecar,
    signals,
    logs,
    dir,
    run: (options) =>
      supervise({
        start: () => Promise.resolve(sidecar),
        command: undefined,
        env: process.env,
        isAppListening: () => connects(socket),
        readyTimeoutMs: 10_000,
        stopTimeoutMs: 10_000,
        processEvents: signals,
        clock: systemClock,
        log: (level, message, fields) => logs.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`),
        ...options,
      }),
    app: (body) => [
      process.execPath,
      "-e",
      `${body} require("node:net").createServer().listen(${JSON.stringify(socket)});`,
    ],
  };
}

function connects(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = net.connect(socket);
    connection.once("connect", () => resolve(true));
    connection.once("error", () => resolve(false));
    connection.once("close", () => resolve(false));
    connection.once("connect", () => connection.destroy());
  });
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test("the application starts only when nothing is missing, and its exit code is ours", async (t) => {
  const { sidecar, run, dir, logs } = scene(t);
  sidecar.missing.set(["certificate", "configuration"]);
  const marker = path.join(dir, "started");
  const script = `require("node:fs").writeFileSync(${JSON.stringify(marker)}, ""); process.exit(7)`;
  const running = run({ command: [process.execPath, "-e", script] });
  await turn();
  sidecar.missing.set(["configuration"]);
  await turn();
  t.notOk(existsSync(marker), "not while something is missing");
  sidecar.missing.set([]);
  t.equal(await running, 7);
  t.ok(existsSync(marker));
  t.same(sidecar.steps, ["close"], "no wait: it never was in the registry");
  t.ok(logs.includes('warn the application has ended: so does the sidecar {"code":7,"signal":null}'));
});

t.test("an application whose port somebody else has is not started, and never announced", async (t) => {
  const { sidecar, run, dir } = scene(t);
  const marker = path.join(dir, "started");
  const script = `require("node:fs").writeFileSync(${JSON.stringify(marker)}, "")`;
  const running = run({
    isAppListening: () => Promise.resolve(true),
    command: [process.execPath, "-e", script],
  });
  await t.rejects(running, { name: "ConfigError", message: /^--port: something else listens there/ });
  t.notOk(existsSync(marker));
  t.same(sidecar.steps, ["close"]);
});

t.test("what is missing is named when the time is over, and the application never starts", async (t) => {
  const { sidecar, run, dir, logs } = scene(t);
  const clock = new FakeClock();
  sidecar.missing.set(["configuration from the control plane"]);
  const marker = path.join(dir, "started");
  const running = run({
    clock,
    command: [process.execPath, "-e", `require("node:fs").writeFileSync(${JSON.stringify(marker)}, "")`],
    readyTimeoutMs: 30_000,
  });
  await turn();
  clock.advance(30_000);
  await t.rejects(running, {
    name: "ConfigError",
    message: /--ready-timeout: .* within 30 s, missing: configuration from the control plane; /,
  });
  t.notOk(existsSync(marker));
  t.same(sidecar.steps, ["close"]);
  t.same(logs, []);
});

t.test("a sidecar that cannot start is the error", async (t) => {
  const { run } = scene(t);
  const start = () => Promise.reject(new Error("--inbound: port 1 is in use"));
  await t.rejects(run({ start, command: ["true"] }), { message: "--inbound: port 1 is in use" });
});

t.test("a command that cannot be run gives 127 or 126 and says so", async (t) => {
  const { run, logs, dir, sidecar } = scene(t);
  t.equal(await run({ command: ["remora-no-such-program"] }), 127);
  const file = path.join(dir, "not-executable");
  writeFileSync(file, "", { mode: 0o644 });
  t.equal(await run({ command: [file] }), 126);
  t.match(
    logs.filter((line) => line.startsWith("error")).join("\n"),
    /remora-no-such-program.*no such program[\s\S]*no program that this user may run \(EACCES\)/,
  );
  t.same(sidecar.steps, ["close", "close"]);
});

t.test("a signal that ends the application is told as a shell tells it", async (t) => {
  const { run } = scene(t);
  t.equal(
    await run({
      command: [process.execPath, "-e", "process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 9)"],
    }),
    143,
  );
});

t.test("SIGTERM: leave the registry, drain, stop the application, outbound to the last call", async (t) => {
  const { sidecar, signals, run, app } = scene(t);
  let calls = 0;
  await sidecar.openUpstream(() => {
    if (calls++ === 0) sidecar.steps.push("first last call");
  });
  sidecar.scripts.set("announce", async () => void signals.emit("SIGTERM"));
  const command = app(`
    process.on("SIGTERM", async () => {
      let failed = 0;
      for (let i = 0; i < 50; i++)
        await new Promise((done) => require("node:http")
          .get(process.env.API_URL + "/" + i, (response) => response.resume().on("end", done))
          .on("error", () => done(failed++)));
      process.exit(failed === 0 ? 3 : 99);
    });`);
  t.equal(await run({ command }), 3, "every call after SIGTERM was answered");
  t.equal(calls, 50);
  t.same(sidecar.steps, ["announce", "withdraw", "drain", "first last call", "close"]);
});

t.test("an application that ignores SIGTERM is killed when its time is over", async (t) => {
  const { sidecar, signals, run, app } = scene(t);
  sidecar.scripts.set("announce", async () => void signals.emit("SIGINT"));
  t.equal(await run({ command: app(`process.on("SIGTERM", () => {});`), stopTimeoutMs: 100 }), 137);
  t.same(sidecar.steps, ["announce", "withdraw", "drain", "close"]);
});

t.test("a second signal ends everything at once", async (t) => {
  const { sidecar, signals, run, app } = scene(t);
  sidecar.scripts.set("announce", async () => void signals.emit("SIGINT"));
  sidecar.scripts.set("drain", () => {
    signals.emit("SIGINT");
    return new Promise(() => {}); // requests that never end
  });
  t.equal(await run({ command: app(`process.on("SIGTERM", () => {});`) }), 130);
  t.same(sidecar.steps, ["announce", "withdraw", "drain", "close"]);
});

t.test("an application that ends by itself ends the sidecar without a wait", async (t) => {
  const { sidecar, run, app } = scene(t);
  sidecar.scripts.set("announce", async () => void 0);
  t.equal(await run({ command: app(`setTimeout(() => process.exit(0), 300);`) }), 0);
  t.same(
    sidecar.steps,
    ["announce", "close"],
    "no withdraw, which waits for peers that nobody serves any more",
  );
});

for (const signal of ["SIGHUP", "SIGUSR1", "SIGUSR2"])
  t.test(`${signal} is the application's`, async (t) => {
    const { sidecar, signals, run, app } = scene(t);
    sidecar.scripts.set("announce", async () => void signals.emit(signal));
    t.equal(await run({ command: app(`process.on("${signal}", () => process.exit(9));`) }), 9);
    t.equal(signals.listenerCount(signal), 0, "nobody listens afterwards");
  });

t.test("a crash of the sidecar is loud, stops the application and exits with 1", async (t) => {
  const { sidecar, signals, run, app, logs, dir } = scene(t);
  const marker = path.join(dir, "told");
  sidecar.scripts.set("announce", async () => void signals.emit("uncaughtException", new Error("boom")));
  const onTerm = `process.on("SIGTERM", () => { require("node:fs").writeFileSync(${JSON.stringify(marker)}, ""); process.exit(0) });`;
  t.equal(await run({ command: app(onTerm) }), 1);
  t.ok(existsSync(marker), "the application was told to stop");
  t.match(logs.join("\n"), /error the sidecar has crashed.*boom/);
});

t.test(
  "without a command: announces when the port opens, tries again when refused, drains on SIGTERM",
  async (t) => {
    const { sidecar, signals, run, logs } = scene(t);
    const clock = new FakeClock();
    let isListening = false;
    let refusals = 1;
    sidecar.scripts.set("announce", async () => {
      if (refusals-- > 0) throw new Error("consul: permission denied");
      signals.emit("SIGTERM");
    });
    const running = run({ clock, isAppListening: () => Promise.resolve(isListening) });
    const tick = async (ms: number): Promise<void> => {
      for (let passed = 0; passed < ms; passed += 100) {
        await turn();
        clock.advance(100);
      }
      await turn();
    };
    await tick(21_000);
    t.same(sidecar.steps, []);
    t.equal(logs.filter((line) => /does not listen/.test(line)).length, 2, "one reminder every 10 s");
    isListening = true;
    await tick(1000);
    t.equal(await running, 0);
    t.same(sidecar.steps, ["announce", "announce", "withdraw", "drain", "close"]);
    t.match(logs.join("\n"), /error the registry does not take this instance.*permission denied/);
  },
);

t.test("SIGTERM before the sidecar is ready closes it and starts nothing", async (t) => {
  const { sidecar, signals, run } = scene(t);
  sidecar.missing.set(["configuration"]);
  const running = run({ command: ["true"] });
  await turn();
  signals.emit("SIGTERM");
  t.equal(await running, 143);
  t.same(sidecar.steps, ["close"]);
});
