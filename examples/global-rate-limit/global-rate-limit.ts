/**
 * `make example NAME=global-rate-limit`: two instances of a service count one limit in Redis, whoever calls. Redis is stopped, and
 * `onUnavailable` decides; Redis is back, and the limit holds again.
 */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { freePorts } from "../demo/free-ports.js";
import { startProgram, stop, until } from "../demo/processes.js";
import { call, metric } from "../demo/traffic.js";
import { programOnPath } from "../program-on-path.js";
import { show, type Instance } from "../small-mesh.js";

const policy = path.resolve(import.meta.dirname, "../../../examples/global-rate-limit/search.yaml");
const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
/** Thirty of each caller; round_robin brings thirty to each instance. */
const requests = 60;
/** What search.yaml admits. */
const limit = 20;

await show(async (mesh) => {
  const server = programOnPath("redis-server", "brokers");
  const [redisPort = 0] = await freePorts(1);
  const startRedis = () =>
    startProgram(mesh.dir, "redis", [
      ...[server, "--port", `${redisPort}`, "--bind", "127.0.0.1", "--dir", mesh.dir],
      ...["--save", "", "--appendonly", "no"],
    ]);
  const redis = startRedis();
  const serve = (name: string): Promise<Instance> => {
    const flags = ["--redis-url", `redis://127.0.0.1:${redisPort}`];
    return mesh.serve({ name, service: "search", command: program("../plain-service.js"), flags });
  };
  const join = (name: string): Promise<Instance> => {
    const flags = ["--upstream", "search:0"];
    return mesh.serve({ name, service: name, command: program("../passing-service.js"), flags });
  };
  const searches = await Promise.all([serve("search-1"), serve("search-2")]);
  const [shop, web] = await Promise.all([join("shop"), join("web")]);
  await Promise.all([mesh.untilKnown(shop, "search", 2), mesh.untilKnown(web, "search", 2)]);

  const document = await readFile(policy, "utf8");
  /** Applies the policy, and waits until both instances have it. */
  const apply = async (onUnavailable: "closed" | "open" | "local"): Promise<void> => {
    await mesh.apply(document.replace("onUnavailable: closed", `onUnavailable: ${onUnavailable}`));
    const inForce = new RegExp(`"onUnavailable":\\s*"${onUnavailable}"`);
    await until(`onUnavailable: ${onUnavailable} at search`, 10_000, async () => {
      const dumps = await Promise.all(searches.map(({ admin }) => call(admin, "/config_dump")));
      return dumps.every(({ body }) => inForce.test(body)) ? true : undefined;
    });
  };
  const untilRedis = (isUp: 0 | 1): Promise<boolean> =>
    until(`remora_redis_up ${isUp} at search`, 15_000, async () => {
      const values = await Promise.all(searches.map(({ admin }) => metric(admin, "remora_redis_up")));
      return values.every((value) => value === isUp) ? true : undefined;
    });
  /** Requests of both callers in turn; prints who had how many answered, and what the others were told. */
  const send = async (what: string, expected: number): Promise<void> => {
    const passed = new Map<string, number>();
    let all = 0;
    /** Refused without Redis. While it is there, on a machine that stands still, its answer may come too late. */
    let late = 0;
    let refusal = "";
    for (let n = 0; n < requests; n++) {
      const [name, { port }] = n % 2 === 0 ? (["shop", shop] as const) : (["web", web] as const);
      const { status, body } = await call(port, "/search/");
      if (status === 429) {
        refusal = body.trim();
        if (refusal.includes("Redis cannot be asked")) late++;
      } else if (status !== 200) throw new Error(`${name}: ${status} ${body}`);
      else {
        all++;
        for (const who of [name, body.split(" ")[0] ?? ""]) passed.set(who, (passed.get(who) ?? 0) + 1);
      }
    }
    const of = (...names: string[]): string =>
      names.map((name) => `${name} ${passed.get(name) ?? 0}`).join(", ");
    console.log(`${what}: ${all} of ${requests} passed`);
    console.log(`  asked by ${of("shop", "web")}; answered by ${of("search-1", "search-2")}`);
    if (refusal !== "") console.log(`  the others: 429 ${refusal}`);
    if (late > 0) console.log(`  refused because Redis did not answer: ${late}`);
    if (all > expected || all < expected - late)
      throw new Error(`${what}: ${expected} should pass, not ${all}`);
  };

  await apply("closed");
  await untilRedis(1);
  await send("Redis counts for both instances", limit);

  await stop(redis);
  await untilRedis(0);
  await send("Redis is away, onUnavailable: closed", 0);
  await apply("open");
  await send("Redis is away, onUnavailable: open", requests);
  await apply("local");
  await send("Redis is away, onUnavailable: local", 2 * limit);

  startRedis();
  await untilRedis(1);
  await apply("closed");
  await send("Redis is back, its counts begin anew", limit);
});
