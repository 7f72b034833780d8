// # runs beside others
/** `remora run` as processes of their own: two services, a control plane with the embedded registry, real traffic. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import t from "tap";
import { startControlPlane } from "../../control-plane/app.js";
import { freePort } from "../support/free-port.js";
import { remora } from "../support/scripted-terminal.js";

const program = path.resolve(import.meta.dirname, "../../bin/remora.js");

/** A child whose output is collected and can be waited for. */
class Running {
  readonly child: ChildProcess;
  output = "";
  readonly #waiting = new Set<() => void>();

  constructor(args: readonly string[], home: string) {
    const env = { PATH: process.env["PATH"], HOME: home };
    this.child = spawn(process.execPath, [program, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.output += text;
        for (const look of this.#waiting) look();
      });
  }

  /** Resolves when the output matches; the test's own time limit ends a wait in vain. */
  says(pattern: RegExp): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!pattern.test(this.output)) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  async exit(): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, "close");
    return this.child.exitCode;
  }
}

const api = `
  require("node:http").createServer((request, response) => response.end("api says " + request.url))
    .listen(Number(process.argv[1]), "127.0.0.1");`;

/** Serves its port, calls api until it answers, and calls it 50 times more when told to stop. */
const web = `
  const http = require("node:http");
  const call = (path) => new Promise((resolve, reject) =>
    http.get(process.env.API_URL + path, (response) => {
      let body = "";
      response.on("data", (part) => (body += part)).on("end", () => resolve(response.statusCode + " " + body));
    }).on("error", reject));
  http.createServer((request, response) => response.end()).listen(Number(process.argv[1]), "127.0.0.1");
  (async () => {
    let answer = "";
    while (!answer.startsWith("200")) answer = await call("/first").catch(String);
    console.log("web got: " + answer);
  })();
  process.on("SIGTERM", async () => {
    let failed = 0;
    for (let i = 0; i < 50; i++) if (!(await call("/" + i).catch(String)).startsWith("200")) failed++;
    console.log("after SIGTERM: " + failed + " of 50 failed");
    process.exit(failed === 0 ? 0 : 1);
  });`;

t.test("a service calls another one, to its last breath", { timeout: 60_000 }, async (t) => {
  const home = t.testdir({});
  const plane = await startControlPlane({
    dataDir: path.join(home, "data"),
    listen: "127.0.0.1:0",
    admin: "127.0.0.1:0",
    logLevel: "silent",
  });
  t.teardown(() => plane.close());
  const env = { REMORA_ADMIN_URL: `http://${plane.adminAddress}`, REMORA_DATA_DIR: path.join(home, "data") };
  const flags = async (service: string): Promise<readonly string[]> => {
    const tokenFile = path.join(home, `${service}.token`);
    const { code, error } = await remora(["token", "create", "--service", service, "--out", tokenFile], {
      env,
    });
    t.equal(code, 0, error);
    return [
      "run",
      "--service",
      service,
      "--control-plane",
      plane.listenAddress,
      "--token-file",
      tokenFile,
      "--drain-delay",
      "50ms",
    ];
  };
  const start = (args: readonly string[]): Running => {
    const running = new Running(args, home);
    t.teardown(() => running.child.kill("SIGKILL"));
    return running;
  };

  const [apiPort, webPort] = [await freePort(), await freePort()];
  const apiRun = start([
    ...(await flags("api")),
    "--port",
    `${apiPort}`,
    "--",
    "node",
    "-e",
    api,
    `${apiPort}`,
  ]);
  const webFlags = [...(await flags("web")), "--port", `${webPort}`];
  const webRun = start([...webFlags, "--upstream", "api:0", "--", "node", "-e", web, `${webPort}`]);
  await apiRun.says(/takes requests from the mesh/);
  await webRun.says(/web got: 200 api says \/first/);
  await webRun.says(/takes requests from the mesh/);

  const check = await remora(["check", "--wait", "20s"], { env });
  t.equal(check.code, 0, check.out);
  const status = await remora(["status"], { env });
  t.match(
    status.out,
    /^web\.default-127\.0\.0\.1-\d+ +web\.default +127\.0\.0\.1\S* +\w+ +\S+ +SYNCED/m,
    status.out,
  );

  webRun.child.kill("SIGTERM");
  t.equal(await webRun.exit(), 0, webRun.output);
  t.match(webRun.output, /after SIGTERM: 0 of 50 failed/);
  const services = await remora(["status", "-o", "json"], { env });
  t.notMatch(services.out, `"port": ${webPort}`, "gone from the registry");

  // The certificate is there by now: what follows is the time of a job.
  const startedMs = performance.now();
  t.equal(await start([...webFlags, "--", "true"]).exit(), 0);
  const tookMs = performance.now() - startedMs;
  t.comment(`remora run -- true took ${Math.round(tookMs)} ms`);
  t.ok(tookMs < 4000, "no wait for peers: a job ends when it ends");
  t.equal(await start([...webFlags, "--", "sh", "-c", "exit 42"]).exit(), 42);
  const unknown = start([...webFlags, "--", "remora-no-such-program"]);
  t.equal(await unknown.exit(), 127);
  t.match(unknown.output, /cannot start remora-no-such-program/);

  apiRun.child.kill("SIGINT");
  t.equal(await apiRun.exit(), 143, "an application without a handler of its own is ended by SIGTERM");
});

t.test(
  "without a control plane: known instances start, new ones say why not",
  { timeout: 60_000 },
  async (t) => {
    const home = t.testdir({});
    const plane = await startControlPlane({
      dataDir: path.join(home, "data"),
      listen: "127.0.0.1:0",
      admin: "127.0.0.1:0",
      logLevel: "silent",
    });
    const env = {
      REMORA_ADMIN_URL: `http://${plane.adminAddress}`,
      REMORA_DATA_DIR: path.join(home, "data"),
    };
    const tokenFile = path.join(home, "web.token");
    await remora(["token", "create", "--service", "web", "--out", tokenFile], { env });
    const base = [
      "run",
      "--service",
      "web",
      "--port",
      "1",
      "--control-plane",
      plane.listenAddress,
      "--token-file",
      tokenFile,
    ];
    const first = new Running([...base, "--state-dir", path.join(home, "state"), "--", "true"], home);
    t.equal(await first.exit(), 0, first.output);
    await plane.close();
    const stale = new Running(
      [...base, "--state-dir", path.join(home, "state"), "--", "echo", "started"],
      home,
    );
    t.equal(await stale.exit(), 0, "without a control plane it goes on with what it has");
    t.match(stale.output, /^started$/m);
    const refused = new Running(
      [...base, "--state-dir", path.join(home, "new"), "--ready-timeout", "1s", "--", "echo", "started"],
      home,
    );
    t.equal(await refused.exit(), 1);
    t.match(
      refused.output,
      /^remora: control plane 127\.0\.0\.1:\d+ is unreachable \(ECONNREFUSED\): start it with remora control-plane/m,
    );
    t.notMatch(refused.output, /^started$/m);
  },
);

t.test(
  "machines boot in any order: a new instance waits for its control plane",
  { timeout: 60_000 },
  async (t) => {
    const home = t.testdir({});
    const dataDir = path.join(home, "data");
    const settings = { dataDir, admin: "127.0.0.1:0", logLevel: "silent" } as const;
    const before = await startControlPlane({ ...settings, listen: "127.0.0.1:0" });
    const tokenFile = path.join(home, "web.token");
    const env = { REMORA_ADMIN_URL: `http://${before.adminAddress}`, REMORA_DATA_DIR: dataDir };
    await remora(["token", "create", "--service", "web", "--out", tokenFile], { env });
    await before.close();
    const args = [
      "--service",
      "web",
      "--port",
      "1",
      "--control-plane",
      before.listenAddress,
      "--token-file",
      tokenFile,
    ];
    const early = new Running(["run", ...args, "--", "echo", "started"], home);
    await early.says(/waiting for the first certificate/);
    const plane = await startControlPlane({ ...settings, listen: before.listenAddress });
    t.equal(await early.exit(), 0, early.output);
    t.match(early.output, /^started$/m);
    await plane.close();
  },
);
