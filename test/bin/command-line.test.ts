/** The command line as its users meet it: help, mistakes, certificates, completion; real processes where it matters. */
import { execFile, spawnSync, type ExecFileException } from "node:child_process";
import { readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import net, { type AddressInfo } from "node:net";
import path from "node:path";
import t from "tap";
import { commands } from "../../bin/commands.js";
import { createOperatorLog } from "../../bin/operator-log.js";
import { processTerminal } from "../../bin/terminal.js";
import { FakeClock } from "../support/fake-clock.js";
import { remora, type Ran } from "../support/scripted-terminal.js";

const program = path.resolve(import.meta.dirname, "../../bin/remora.js");

/** A process of its own, as `npm` links it. */
function processOf(args: readonly string[], home: string): Promise<Ran> {
  const env = { PATH: process.env["PATH"], HOME: home };
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], { env, timeout: 20_000 }, (failure, out, error) => {
      const { code } = (failure ?? { code: 0 }) as ExecFileException;
      resolve({ code: Number(code), out, error });
    });
  });
}

t.test("help names every command, and every command helps", async (t) => {
  const { code, out, error } = await remora(["--help"]);
  t.equal(code, 0);
  t.equal(error, "");
  for (const { name, settings } of commands) {
    t.match(out, new RegExp(`^  ${name.split(" ")[0]} `, "m"), name);
    const help = await remora([...name.split(" "), "--help"]);
    t.equal(help.code, 0, `${name} --help`);
    for (const { help: text } of Object.values(settings))
      t.ok(help.out.replace(/\s+/g, " ").includes(text), `${name}: ${text}`);
  }
});

t.test("mistakes on the command line: one line with place, cause and fix, exit code 2", async (t) => {
  const table: readonly [readonly string[], string][] = [
    [["runn"], "remora: unknown command 'runn'; did you mean run?"],
    [["xyzzy"], "remora: unknown command 'xyzzy'; see remora --help"],
    [["ca", "inti"], "remora: ca: unknown command 'inti'; did you mean init?"],
    [
      ["status", "--admin-ulr", "x"],
      "remora: status: unknown option '--admin-ulr'; did you mean --admin-url?",
    ],
    [
      ["run", "--service", "web", "--port", "1"],
      "remora: run: missing required argument 'command'; see remora run --help",
    ],
    [
      ["run", "--", "true"],
      'remora: --service: is missing; give --service NAME, REMORA_SERVICE or "service:" in --config',
    ],
    [
      ["status", "extra"],
      "remora: status: too many arguments for 'status'. Expected 0 arguments but got 1.; see remora status --help",
    ],
    [["status", "-o", "jsn"], 'remora: --output: "jsn" is not one of table, json; did you mean "json"?'],
    [
      ["sidecar", "--service", "web", "--port", "1", "--protocol", "gprc"],
      'remora: --protocol: "gprc" is not one of http, http2, grpc, tcp; did you mean "grpc"?',
    ],
    [["apply"], "remora: -f: is missing; name a file, a folder or - for standard input"],
    [["delete", "httproute"], "remora: delete: names no document; give KIND NAME, or -f FILE"],
    [["completion", "csh"], 'remora: completion: "csh" is not one of bash, zsh, fish; did you mean "zsh"?'],
    [
      ["status", "--admin-url", "https://x"],
      "remora: --admin-url: https://x is not served by a control plane; write http://HOST:PORT",
    ],
  ];
  for (const [args, line] of table) {
    const { code, out, error } = await remora(args);
    t.same({ code, out, error }, { code: 2, out: "", error: `${line}\n` }, args.join(" "));
  }
  const bare = await remora([]);
  t.equal(bare.code, 2);
  t.match(bare.error, /^Usage: remora/, "no command: help, on standard error");
});

t.test("flags after the command are the command's own", async (t) => {
  const { error } = await remora([
    "run",
    "--service",
    "web",
    "--port",
    "1",
    "--token-file",
    "/nonexistent",
    "node",
    "--help",
  ]);
  t.match(error, /^remora: --token-file: cannot read \/nonexistent/, "it got as far as starting the sidecar");
});

t.test("a stack is shown only to who asks for it", async (t) => {
  const args = ["get", "httproute"];
  t.notMatch((await remora(args)).error, /\n +at /);
  t.match((await remora(args, { env: { REMORA_DEBUG: "1" } })).error, /\n +at /);
});

t.test("version", async (t) => {
  const { version } = JSON.parse(
    readFileSync(path.resolve(import.meta.dirname, "../../../package.json"), "utf8"),
  ) as { version: string };
  t.equal((await remora(["--version"])).out, `${version}\n`);
  t.match((await remora(["version"])).out, `remora ${version} (node v`);
  t.match(JSON.parse((await remora(["version", "-o", "json"])).out), { version, node: process.version });
});

t.test("certificates without a control plane", async (t) => {
  const dir = t.testdir({});
  const ca = path.join(dir, "ca");
  const out = path.join(dir, "out");
  const made = await remora(["ca", "init", "--dir", ca, "--trust-domain", "mesh.test", "-o", "json"]);
  t.equal(made.code, 0, made.error);
  t.match(JSON.parse(made.out), { trustDomain: "mesh.test", dir: ca });
  t.equal(statSync(path.join(ca, "root.key")).mode & 0o777, 0o600);
  const again = await remora(["ca", "init", "--dir", ca]);
  t.equal(again.code, 1);
  t.match(again.error, /^remora: .*already holds a CA: .*\n$/);

  const issued = await remora([
    "cert",
    "issue",
    "--service",
    "web",
    "--ca-dir",
    ca,
    "--out-dir",
    out,
    "--ttl",
    "1h",
    "-o",
    "json",
  ]);
  t.equal(issued.code, 0, issued.error);
  const { certFile, bundleFile } = JSON.parse(issued.out) as { certFile: string; bundleFile: string };
  const inspected = await remora(["cert", "inspect", certFile]);
  t.match(inspected.out, /^X\.509-SVID spiffe:\/\/mesh\.test\/ns\/default\/svc\/web\n/);
  t.match(
    JSON.parse(
      (await remora(["cert", "inspect", "-", "-o", "json"], { input: readFileSync(certFile, "utf8") })).out,
    ),
    [{ kind: "svid", state: "valid" }],
  );

  const verified = await remora(["cert", "verify", certFile, "--bundle", bundleFile]);
  t.same([verified.code, verified.out], [0, `${certFile}: valid: spiffe://mesh.test/ns/default/svc/web\n`]);
  const other = await remora([
    "cert",
    "verify",
    certFile,
    "--bundle",
    bundleFile,
    "--trust-domain",
    "other",
    "-o",
    "json",
  ]);
  t.equal(other.code, 1);
  t.match(JSON.parse(other.out), { ok: false, reason: "wrong_trust_domain" });

  writeFileSync(path.join(dir, "text"), "no certificate\n");
  t.match(
    (await remora(["cert", "inspect", path.join(dir, "text")])).error,
    /^remora: .*text: .*name a PEM file of certificates\n$/,
  );
  t.match(
    (await remora(["cert", "inspect", path.join(dir, "none")])).error,
    /cannot be read \(ENOENT\); check the path/,
  );
  const noCa = await remora([
    "cert",
    "issue",
    "--service",
    "web",
    "--ca-dir",
    path.join(dir, "none"),
    "--out-dir",
    out,
  ]);
  t.same(
    [noCa.code, noCa.error],
    [1, `remora: ${path.join(dir, "none")} holds no CA: make one with remora ca init\n`],
  );
});

t.test("completion scripts name every command and flag, and their shells can read them", async (t) => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const { code, out } = await remora(["completion", shell]);
    t.equal(code, 0);
    for (const { name, settings } of commands) {
      t.ok(out.includes(`'${name}'`), `${shell}: ${name}`);
      for (const key of Object.keys(settings)) {
        const flag = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
        t.ok(out.includes(shell === "fish" ? `-l ${flag}` : `--${flag}`), `${shell}: ${name} --${flag}`);
      }
    }
    if (spawnSync(shell, ["--version"]).error !== undefined) {
      t.comment(`${shell} is not installed here: its script was not parsed`);
      continue;
    }
    const parsed = spawnSync(shell, ["-n"], { input: out, encoding: "utf8" });
    t.same([parsed.status, parsed.stderr], [0, ""], `${shell} -n`);
  }
});

t.test("bash completes commands, flags, values and files", async (t) => {
  const { out: script } = await remora(["completion", "bash"]);
  const complete = (...words: readonly string[]): string[] => {
    const line = `COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _remora; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = spawnSync("bash", ["-c", `${script}\n${line}`], {
      encoding: "utf8",
      cwd: "/",
    });
    t.equal(stderr, "");
    return stdout.split("\n").filter((word) => word !== "");
  };
  t.same(complete("remora", "ce"), ["cert"]);
  t.same(complete("remora", "cert", "i"), ["issue", "inspect"]);
  t.same(complete("remora", "run", "--drain-"), ["--drain-timeout", "--drain-delay"]);
  t.same(complete("remora", "run", "--access-log", ""), ["off", "text", "json"]);
  t.same(complete("remora", "get", "http"), ["httproute"]);
  t.same(complete("remora", "apply", "-f", "et"), ["etc"], "a file");
  t.same(complete("remora", "run", "--service", "w"), [], "a name is not guessed");
});

t.test("real processes: linked, in use, unreachable", async (t) => {
  const home = t.testdir({ "web.token": "rmr1.nonsense\n" });
  const link = path.join(home, "remora");
  symlinkSync(program, link);
  const linked = spawnSync(process.execPath, [link, "--version"], { encoding: "utf8" });
  t.match(linked.stdout, /^\d+\.\d+\.\d+\n$/);
  t.match(readFileSync(program, "utf8"), /^#!\/usr\/bin\/env node\n/, "runs as a program");

  const taken = net.createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  t.teardown(() => taken.close());
  const address = `127.0.0.1:${(taken.address() as AddressInfo).port}`;
  const inUse = await processOf(
    ["control-plane", "--listen", address, "--admin", "127.0.0.1:0", "--log-level", "error"],
    home,
  );
  t.same(
    [inUse.code, inUse.error],
    [1, `remora: --listen: ${address} is in use by another process: stop it, or choose another port\n`],
  );

  const sidecar = ["sidecar", "--service", "web", "--port", "1", "--control-plane", "127.0.0.1:1"];
  const badToken = await processOf([...sidecar, "--token-file", path.join(home, "web.token")], home);
  t.equal(badToken.code, 1);
  t.match(badToken.error, /^remora: .*token.*\n$/, "one line");
  const noToken = await processOf(sidecar, home);
  t.match(
    noToken.error,
    /^remora: no certificate in .*web\.default-1, and there is no join token: create a token .*\n$/,
  );
  const lost = await processOf(
    ["token", "create", "--service", "web", "--admin-url", "http://127.0.0.1:1"],
    home,
  );
  t.equal(lost.code, 1);
  t.match(lost.error, /^remora: --admin-(url|token-file): .*; .*\n$/);
});

t.test("help loads no package but commander", async (t) => {
  const found = new Set<string>();
  const seen = new Set<string>();
  // What is imported dynamically loads later: it stands in parentheses.
  const walk = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const [, name = ""] of readFileSync(file, "utf8").matchAll(
      /^(?:import|export)(?: [^"(;=]*from)? "([^"]+)";/gm,
    ))
      if (name.startsWith(".")) walk(path.resolve(path.dirname(file), name));
      else if (!name.startsWith("node:")) found.add(name);
  };
  walk(program);
  t.same([...found], ["commander"]);
  t.ok(seen.size > 10, "walked");
});

t.test("the operator's log: JSON lines for programs, text for people, its level can change", async (t) => {
  const lines: string[] = [];
  const clock = new FakeClock(Date.UTC(2026, 0, 2, 3, 4, 5, 6));
  const terminal = {
    ...processTerminal(),
    clock,
    error: (text: string) => void lines.push(text),
    isErrorTty: false,
  };
  const { log, level } = createOperatorLog("warn", terminal);
  log("info", "not told");
  log("error", "refused", { reason: "a b", count: 2 });
  t.equal(level.get(), "warn");
  t.equal(level.set("loud"), false);
  t.equal(level.set("debug"), true);
  log("debug", "told");
  createOperatorLog("info", { ...terminal, isErrorTty: true }).log("warn", "lost", {
    peer: "10.0.0.1:1",
    why: "no\x1b[2J",
    at: undefined,
  });
  t.same(lines, [
    '{"time":"2026-01-02T03:04:05.006Z","level":"error","msg":"refused","reason":"a b","count":2}\n',
    '{"time":"2026-01-02T03:04:05.006Z","level":"debug","msg":"told"}\n',
    "03:04:05.006 WARN  lost peer=10.0.0.1:1 why='no\\x1B[2J'\n",
  ]);
});
