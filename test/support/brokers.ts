/** Real servers that speak TCP and no HTTP, each in a folder of its own, on loopback, and gone with the test. */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Test } from "tap";
import { freePort } from "./free-port.js";
import { until } from "./until.js";

const unpacked = path.resolve(import.meta.dirname, "../../../.cache/peers/bin");
/** Debian's own starter on PATH insists on being root, and on the machine's broker's files. */
const besidePath: Readonly<Record<string, string>> = {
  "rabbitmq-server": "/usr/lib/rabbitmq/bin/rabbitmq-server",
};
const startTimeoutMs = 90_000;

/** Where a program is: this machine's, else what install-peers.sh unpacked; undefined when there is none. */
export function program(name: string): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/usr/local/sbin"];
  const own =
    name in besidePath ? [besidePath[name] ?? ""] : folders.map((folder) => path.join(folder, name));
  return [...own, path.join(unpacked, name)].find((file) => existsSync(file));
}

/** tap's `skip`: false when all programs are there, or when CI=true, where the test is to fail instead. */
export function skipWithout(...names: readonly string[]): string | false {
  const missing = names.filter((name) => program(name) === undefined);
  if (missing.length === 0 || process.env["CI"] === "true") return false;
  return `no ${missing.join(", ")}: run test/support/install-peers.sh brokers and clients, or put them on PATH`;
}

/** A program's output; rejects when it fails or takes longer than 20 s. */
export function run(name: string, args: readonly string[], input = ""): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(needed(name), args, { stdio: ["pipe", "pipe", "pipe"], timeout: 20_000 });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
    child.stdin.on("error", () => undefined).end(input);
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve(out);
      else reject(new Error(`${name} ${args.join(" ")}: exit ${code}: ${err}${out}`));
    });
  });
}

/** A line at a time from a program that goes on until the test ends. */
export function follow(t: Test, name: string, args: readonly string[]): readonly string[] {
  const lines: string[] = [];
  const child = start(t, name, args, {});
  let rest = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  });
  return lines;
}

export async function startRedis(t: Test, port: number): Promise<ChildProcess> {
  const dir = await folder(t, "redis");
  const args = ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no"];
  const server = start(t, "redis-server", args, {});
  await untilAccepting("redis-server", port);
  return server;
}

export async function startMosquitto(t: Test, port: number): Promise<void> {
  const dir = await folder(t, "mosquitto");
  const file = path.join(dir, "mosquitto.conf");
  // It gives up root's rights for a user that may not exist.
  const user = process.getuid?.() === 0 ? "user root\n" : "";
  await writeFile(file, `${user}listener ${port} 127.0.0.1\nallow_anonymous true\npersistence false\n`);
  start(t, "mosquitto", ["-c", file], {});
  await untilAccepting("mosquitto", port);
}

/** A node with a port mapper of its own, so that neither meets nor leaves one of the machine's. */
export async function startRabbit(t: Test, port: number): Promise<void> {
  const dir = await folder(t, "rabbit");
  const [mapper, distribution] = [await freePort(), await freePort()];
  const names = { ERL_EPMD_PORT: `${mapper}`, ERL_EPMD_ADDRESS: "127.0.0.1", HOME: dir };
  start(t, "epmd", [], names);
  await untilAccepting("epmd", mapper);
  const plugins = path.join(dir, "plugins");
  await writeFile(plugins, "[].");
  start(t, "rabbitmq-server", [], {
    ...names,
    // Its script then becomes the server itself: one process, ended by its id.
    RUNNING_UNDER_SYSTEMD: "true",
    RABBITMQ_NODENAME: `remora-${port}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_NODE_PORT: `${port}`,
    RABBITMQ_DIST_PORT: `${distribution}`,
    RABBITMQ_MNESIA_BASE: path.join(dir, "mnesia"),
    RABBITMQ_LOG_BASE: path.join(dir, "log"),
    RABBITMQ_LOGS: "-",
    RABBITMQ_ENABLED_PLUGINS_FILE: plugins,
    RABBITMQ_CONF_ENV_FILE: "/dev/null",
    RABBITMQ_CONFIG_FILE: path.join(dir, "none"),
    RABBITMQ_PID_FILE: path.join(dir, "pid"),
  });
  await untilAccepting("rabbitmq-server", port);
}

function needed(name: string): string {
  const file = program(name);
  if (file === undefined)
    throw new Error(`no ${name}: run test/support/install-peers.sh brokers and clients`);
  return file;
}

/** Killed with the test, and with this process however it ends. */
function start(
  t: Test,
  name: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): ChildProcess {
  const child = spawn(needed(name), args, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  const note = (text: string): void => void (log = (log + text).slice(-4000));
  child.stdout.setEncoding("utf8").on("data", note);
  child.stderr.setEncoding("utf8").on("data", note);
  child.on("error", (error) => note(error.message));
  const kill = (): void => void child.kill("SIGKILL");
  process.on("exit", kill);
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  t.teardown(async () => {
    process.off("exit", kill);
    kill();
    await exited;
    if (!t.passing()) t.comment(`--- ${name}\n${log}`);
  });
  return child;
}

async function folder(t: Test, name: string): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), `remora-${name}-`));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function untilAccepting(name: string, port: number): Promise<void> {
  const look = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1");
      socket.once("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
  await until(`${name} accepts connections`, look, startTimeoutMs);
}
