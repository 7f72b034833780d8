/** Settings: how texts are read, which source wins, and what a mistake looks like. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import t from "tap";
import { bootstrapOf } from "../../bin/bootstrap.js";
import { commands } from "../../bin/commands.js";
import { processTerminal } from "../../bin/terminal.js";
import * as parse from "../../bin/settings/parsers.js";
import { caIntermediateSettings, certIssueSettings } from "../../bin/settings/ca-settings.js";
import { controlPlaneSettings } from "../../bin/settings/control-plane-settings.js";
import { resolveSettings } from "../../bin/settings/resolve.js";
import { environmentOf, flagOf } from "../../bin/settings/setting.js";
import { runSettings, sidecarSettings } from "../../bin/settings/sidecar-settings.js";

const flags = (given: Readonly<Record<string, readonly string[]>>) => new Map(Object.entries(given));
const needed = { service: ["web"], port: ["8080"] };

t.test("parsers take what is meant and name what is wrong", async (t) => {
  const duration = parse.duration({ leastMs: 0, mostMs: 3_600_000 });
  const good: readonly [unknown, unknown][] = [
    [parse.port({ allowsZero: true })("0"), 0],
    [parse.port({ allowsZero: false })("65535"), 65_535],
    [parse.portOrOff("off"), "off"],
    [parse.portOrOff("9000"), 9000],
    [parse.hostPort("[::1]:15012"), "[::1]:15012"],
    [parse.wanAddress("203.0.113.9"), { address: "203.0.113.9" }],
    [parse.wanAddress("203.0.113.9:443"), { address: "203.0.113.9", port: 443 }],
    [parse.wanAddress("2001:db8::9"), { address: "2001:db8::9" }],
    [parse.wanAddress("[2001:db8::9]:443"), { address: "2001:db8::9", port: 443 }],
    [duration("1m30s"), 90_000],
    // docs/operations.md and docs/control-plane.md write lives of certificates and tokens in days.
    [certIssueSettings.ttl.read(["7d"]), 604_800_000],
    [caIntermediateSettings.ttl.read(["365d"]), 31_536_000_000],
    [controlPlaneSettings.leafTtl.read(["2d"]), 172_800_000],
    [parse.upstream("api.payments:9001"), { service: "api.payments", port: 9001 }],
    [parse.keyValue("a=b=c"), ["a", "b=c"]],
    [parse.appCheck("tcp"), { kind: "tcp", intervalMs: 2000, timeoutMs: 1000 }],
    [
      parse.appCheck("http:/health?x=1"),
      { kind: "http", path: "/health?x=1", intervalMs: 2000, timeoutMs: 1000 },
    ],
    [parse.appCheck("ttl:15s"), { kind: "ttl", ttlMs: 15_000 }],
    [parse.url("http://127.0.0.1:8500/"), "http://127.0.0.1:8500"],
  ];
  for (const [value, expected] of good) t.same(value, expected, JSON.stringify(expected));
  const bad: readonly [() => unknown, RegExp][] = [
    [() => parse.port({ allowsZero: false })("0"), /"0" is not a port; give a number from 1 to 65535/],
    [() => parse.port({ allowsZero: true })("65536"), /is not a port/],
    [() => parse.port({ allowsZero: true })("0x50"), /is not a port/],
    [() => parse.portOrOff("of"), /is not a port/],
    [() => parse.hostPort("localhost"), /is not HOST:PORT/],
    [() => parse.hostPort("::1:15012"), /is not HOST:PORT/],
    [() => duration("30"), /is not a duration; write it like 30s/],
    [() => duration("2h"), /out of range; give 0s to 1h/],
    [() => certIssueSettings.ttl.read(["8d"]), /^8d is out of range; give 2s to 168h/],
    [() => parse.upstream("api"), /is not NAME:LOCALPORT/],
    [() => parse.upstream("Api:1"), /cannot be a name in the mesh/],
    [() => parse.keyValue("=x"), /is not NAME=VALUE/],
    [() => parse.appCheck("http:health"), /is no check/],
    [() => parse.appCheck("ttl:soon"), /is not a duration/],
    [() => parse.url("127.0.0.1:26403"), /is no address; write it like http:\/\/127\.0\.0\.1:26403$/],
    [() => parse.url("/tmp/x"), /is no address; write it like http:\/\/127\.0\.0\.1:8500$/],
    [() => parse.ipAddress("localhost"), /is not an IP address/],
    [() => parse.wanAddress("203.0.113.9:0"), /is not IP or IP:PORT; write it like/],
    [() => parse.wanAddress("[203.0.113.9]:1"), /is not IP or IP:PORT/],
    [() => parse.wanAddress("far.example:1"), /is not IP or IP:PORT/],
    [() => parse.wholeNumber(1, 10)("1.5"), /whole number from 1 to 10/],
    [() => parse.trustDomain("Mesh"), /is no trust domain/],
    [() => parse.text(""), /is empty/],
  ];
  for (const [read, message] of bad) t.throws(read, { message }, String(message));
});

t.test("no text makes a parser fail but with a sentence", async (t) => {
  const all = [
    parse.wanAddress,
    parse.upstream,
    parse.appCheck,
    parse.hostPort,
    parse.url,
    parse.keyValue,
    parse.portOrOff,
  ];
  fc.assert(
    fc.property(fc.string(), fc.constantFrom(...all), (text, read) => {
      try {
        read(text);
      } catch (error) {
        return error instanceof Error && !error.message.includes("\n") && error.message.length < 300;
      }
      return true;
    }),
  );
  t.pass("held");
});

t.test("flag, then environment, then file, then default", async (t) => {
  const dir = t.testdir({
    "remora.yaml": "drainTimeout: 3s\nlogLevel: error\nnoRegister: true\nport: 7000\n",
  });
  const config = [path.join(dir, "remora.yaml")];
  const values = await resolveSettings(sidecarSettings, {
    flags: flags({ ...needed, config, drainTimeout: ["1s"] }),
    env: {
      REMORA_DRAIN_TIMEOUT: "2s",
      REMORA_LOG_LEVEL: "warn",
      REMORA_ADMIN: "",
      REMORA_UPSTREAM: "a:1, b:2",
    },
  });
  t.equal(values.drainTimeout, 1000, "flag");
  t.equal(values.port, 8080, "flag over file");
  t.equal(values.logLevel, "warn", "environment over file");
  t.equal(values.noRegister, true, "file");
  t.equal(values.drainDelay, 5000, "default");
  t.equal(values.admin, 0, "an empty variable is none");
  t.same(values.upstream, [
    { service: "a", port: 1 },
    { service: "b", port: 2 },
  ]);
  const fromEnvironment = await resolveSettings(sidecarSettings, {
    flags: new Map(),
    env: { REMORA_SERVICE: "web", REMORA_PORT: "1", REMORA_CONFIG: config[0] },
  });
  t.equal(fromEnvironment.drainTimeout, 3000, "the file itself may come from the environment");
});

t.test("a password is taken from environment and file, never from the command line", async (t) => {
  const secret = "redis://:secret@127.0.0.1:6379";
  const given = (value: string, env = {}) =>
    resolveSettings(sidecarSettings, {
      flags: flags({ ...needed, ...(value && { redisUrl: [value] }) }),
      env,
    });
  t.equal((await given("redis://127.0.0.1:6379/1")).redisUrl, "redis://127.0.0.1:6379/1");
  t.equal((await given("", { REMORA_REDIS_URL: secret })).redisUrl, secret);
  const config = [path.join(t.testdir({ "remora.yaml": `redisUrl: ${secret}\n` }), "remora.yaml")];
  const fromFile = await resolveSettings(sidecarSettings, { flags: flags({ ...needed, config }), env: {} });
  t.equal(fromFile.redisUrl, secret);
  for (const [value, message] of [
    [secret, /^--redis-url: holds a password.*: REMORA_REDIS_URL or "redisUrl:" in --config$/],
    ["http://:secret@h", /^--redis-url: holds a password/],
    ["http://h", /^--redis-url: is no address of Redis; write it like redis:/],
    ["redis:", /is no address of Redis/],
  ] as const) {
    const error: unknown = await given(value).then(
      () => undefined,
      (cause: unknown) => cause,
    );
    t.match(error, { name: "UsageError", message });
    t.notMatch((error as Error).message, "secret");
  }
});

t.test("a mistake is told with its place and its fix", async (t) => {
  const dir = t.testdir({});
  const file = path.join(dir, "remora.yaml");
  const read = (text: string, env = {}) => {
    writeFileSync(file, text);
    return resolveSettings(sidecarSettings, { flags: flags({ ...needed, config: [file] }), env });
  };
  const table: readonly [string, RegExp][] = [
    [
      "service: web\nupstreem:\n  - api:1\n",
      /remora\.yaml:2:1: unknown key "upstreem"; did you mean "upstream"\?/,
    ],
    ["drainTimeout: 5\n", /remora\.yaml:1:15: "5" is not a duration/],
    ["service: web\n\n  bad: [\n", /remora\.yaml:\d+:\d+: not YAML: /],
    ["- service\n", /remora\.yaml:1:1: is not a map/],
    ["service: [a, b]\n", /remora\.yaml:1:10: service must be one value/],
    ["upstream:\n  - {a: 1}\n", /remora\.yaml:2:3: upstream must be a list of texts/],
    ["service: web\nservice: api\n", /remora\.yaml:2:1: not YAML: .*unique/],
    ["dataDir: /x\n", /remora\.yaml:1:1: unknown key "dataDir"/],
    ["config: other.yaml\n", /remora\.yaml:1:1: unknown key "config"/],
    ["file: x\n", /unknown key "file"/],
  ];
  for (const [text, message] of table)
    await t.rejects(read(text), { name: "UsageError", message }, JSON.stringify(text));
  t.same((await read("")).meta, [], "an empty file is no mistake");
  t.same((await read("meta: {version: 2, zone: a}\n")).meta, [
    ["version", "2"],
    ["zone", "a"],
  ]);
  await t.rejects(read("", { REMORA_INBOUND: "x" }), { message: /^REMORA_INBOUND: "x" is not a port/ });
  await t.rejects(resolveSettings(sidecarSettings, { flags: new Map(), env: {} }), {
    message: '--service: is missing; give --service NAME, REMORA_SERVICE or "service:" in --config',
  });
  await t.rejects(
    resolveSettings(sidecarSettings, { flags: flags({ ...needed, config: ["/nonexistent.yaml"] }), env: {} }),
    { message: "--config: cannot read /nonexistent.yaml (ENOENT); check the path and its permissions" },
  );
});

t.test("every default is a value that the setting itself accepts", async (t) => {
  for (const { name, settings } of commands)
    for (const [key, setting] of Object.entries(settings)) {
      t.match(flagOf(key), /^--[a-z][a-z-]+$/, `${name} ${flagOf(key)}`);
      t.match(environmentOf(key), /^REMORA_[A-Z_]+$/);
      if (setting.kind !== "list") t.doesNotThrow(() => tryRead(setting.read), `${name} ${flagOf(key)}`);
    }
});

function tryRead(read: (texts: undefined) => unknown): void {
  try {
    read(undefined);
  } catch (error) {
    if ((error as Error).name !== "MissingSetting") throw error;
  }
}

t.test("settings become a bootstrap", async (t) => {
  const terminal = { ...processTerminal(), homeDir: "/home/u" };
  const read = async (given: Readonly<Record<string, readonly string[]>>) =>
    bootstrapOf(
      await resolveSettings(runSettings, { flags: flags({ ...needed, ...given }), env: {} }),
      terminal,
    );
  t.same(await read({}), {
    service: "web",
    namespace: "default",
    appAddress: "127.0.0.1",
    appPort: 8080,
    protocol: "http",
    upstreams: [],
    outboundPort: 0,
    inboundPort: 0,
    inboundAddress: "127.0.0.1",
    advertiseAddress: "127.0.0.1",
    adminPort: 0,
    controlPlane: "127.0.0.1:15012",
    tokenFile: undefined,
    stateDir: "/home/u/.remora/web.default-8080",
    zone: "",
    meta: {},
    accessLog: { format: "off", path: "-" },
    workers: 1,
    registration: { kind: "embedded" },
    drainTimeoutMs: 30_000,
    drainDelayMs: 5000,
    enrollTimeoutMs: 24_000,
    observeCallsMs: 10_000,
  });
  const inConsulsMesh = { url: "http://127.0.0.1:8500", token: undefined, caFile: undefined };
  t.match(await read({ ca: ["consul"] }), {
    consulCa: inConsulsMesh,
    registration: { kind: "consul", ...inConsulsMesh },
  });
  for (const [given, message] of [
    [{ ca: ["consul"], namespace: ["team"] }, /^--namespace: team is none of Consul's mesh/],
    [{ ca: ["vault"] }, /^--ca: "vault" is not one of remora, consul/],
  ] as const)
    await t.rejects(read(given), { name: "UsageError", message });
  t.match(await read({ outbound: ["off"], advertise: ["10.1.2.3"], noRegister: ["true"] }), {
    outboundPort: undefined,
    inboundAddress: "0.0.0.0",
    advertiseAddress: "10.1.2.3",
    registration: { kind: "none" },
  });
  for (const protocol of ["http2", "grpc", "tcp"])
    t.match(await read({ protocol: [protocol] }), { protocol });
  t.match(await read({ controlPlane: ["[::1]:15012"] }), { inboundAddress: "::1", advertiseAddress: "::1" });
  const consul = ["http://127.0.0.1:8500"];
  t.match(await read({ consul, tag: ["v2"] }), {
    registration: { kind: "consul", url: consul[0], tags: ["v2"], checks: [{ kind: "tcp" }] },
  });
  const contradictions: readonly [Readonly<Record<string, readonly string[]>>, RegExp][] = [
    [{ upstream: ["api:8080"] }, /--upstream: api has the application's own port 8080/],
    [{ upstream: ["api:1", "db:1"] }, /--upstream: api and db have the same port 1/],
    [{ upstream: ["api:1", "api:2"] }, /--upstream: api stands twice/],
    [{ check: ["tcp"] }, /--check: is for Consul/],
    [{ tag: ["a"] }, /--tag: is for Consul/],
    [
      { consul, consulTokenFile: ["/nonexistent"] },
      /--consul-token-file: cannot read \/nonexistent \(ENOENT\)/,
    ],
  ];
  for (const [given, message] of contradictions) await t.rejects(read(given), { message }, String(message));
  t.equal((await read({ upstream: ["api:0", "db:0"] })).upstreams.length, 2, "free ports do not collide");
});
