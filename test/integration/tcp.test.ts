// # runs beside others
/** Real processes: brokers behind a sidecar with `--protocol tcp`, and their own clients behind another. */
import { connect, type ConsumeMessage } from "amqplib";
import t, { type Test } from "tap";
import {
  follow,
  program,
  run,
  skipWithout,
  startMosquitto,
  startRabbit,
  startRedis,
} from "../support/brokers.js";
import { metric, readAdmin, startMesh, type Place, type Running } from "../support/cli-mesh.js";
import { until } from "../support/until.js";

const brokers = [
  "redis-server",
  "redis-cli",
  "mosquitto",
  "mosquitto_pub",
  "mosquitto_sub",
  "rabbitmq-server",
];
const isNeeded = brokers.some((name) => program(name) !== undefined) || process.env["CI"] === "true";

if (!isNeeded) t.pass("no broker is here", { skip: skipWithout(...brokers) });
else {
  const mesh = await startMesh(t);
  const web = await mesh.join({ name: "web", service: "web", upstreams: ["redis", "mqtt", "amqp"] });

  /** A sidecar for a broker, which is started by `start`; resolves with the port at which web reaches it. */
  const join = async (t: Test, service: string, start: (t: Test, port: number) => Promise<unknown>) => {
    const place: Place = await mesh.place({
      name: service,
      service,
      command: [],
      flags: ["--protocol", "tcp"],
    });
    await start(t, place.app);
    const sidecar: Running = { ...place, process: mesh.run(place) };
    await mesh.untilKnown(web, service, [sidecar]);
    return { sidecar, port: web.upstreams.get(service) ?? 0 };
  };

  t.test("redis", { skip: skipWithout("redis-server", "redis-cli") }, async (t) => {
    const { sidecar, port } = await join(t, "redis", startRedis);
    const redis = (args: readonly string[], input?: string) =>
      run("redis-cli", ["-h", "127.0.0.1", "-p", `${port}`, ...args], input);
    t.equal((await redis(["PING"])).trim(), "PONG");
    // 20,000 commands in one go, answered in one go, over one connection.
    const count = 20_000;
    const piped = Array.from(
      { length: count },
      (_, n) => `SET key:${n} ${"v".repeat(1 + (n % 200))}\r\n`,
    ).join("");
    t.match(await redis(["--pipe"], piped), new RegExp(`errors: 0, replies: ${count}`));
    t.equal((await redis(["DBSIZE"])).trim(), `${count}`);
    t.equal((await redis(["GET", "key:199"])).trim(), "v".repeat(200));
    t.ok(
      (await metric(web.admin, "istio_tcp_received_bytes_total", {
        reporter: "source",
        destination_workload: "redis",
        request_protocol: "tcp",
        connection_security_policy: "mutual_tls",
      })) > piped.length,
      "bytes are counted at the caller",
    );
    t.ok(
      (await metric(sidecar.admin, "istio_tcp_connections_opened_total", {
        reporter: "destination",
        source_workload: "web",
      })) >= 4,
      "connections at the called service, by caller",
    );
    t.ok(await readAdmin(web.admin, "/clusters?format=json"), "the admin API lists it");
  });

  t.test(
    "MQTT: publish and subscribe",
    { skip: skipWithout("mosquitto", "mosquitto_pub", "mosquitto_sub") },
    async (t) => {
      const { port } = await join(t, "mqtt", startMosquitto);
      const at = ["-h", "127.0.0.1", "-p", `${port}`, "-q", "1"];
      // A retained message tells that the subscription stands.
      await run("mosquitto_pub", [...at, "-t", "news/0", "-r", "-m", "ready"]);
      const lines = follow(t, "mosquitto_sub", [...at, "-t", "news/#", "-v"]);
      await until("the subscription", () => lines.includes("news/0 ready"));
      for (let n = 1; n <= 5; n++)
        await run("mosquitto_pub", [...at, "-t", `news/${n}`, "-m", `message ${n}`]);
      await until("all messages", () => lines.length === 6);
      t.same(
        lines.slice(1).sort(),
        [1, 2, 3, 4, 5].map((n) => `news/${n} message ${n}`),
      );
      const big = "x".repeat(1_000_000);
      await run("mosquitto_pub", [...at, "-t", "news/big", "-s"], big);
      await until("a big message", () => lines.length === 7);
      t.equal(lines[6], `news/big ${big}`);
    },
  );

  t.test(
    "AMQP: publish with confirms, consume",
    { skip: skipWithout("rabbitmq-server", "epmd") },
    async (t) => {
      const { port } = await join(t, "amqp", startRabbit);
      const connection = await connect(`amqp://guest:guest@127.0.0.1:${port}`);
      t.teardown(() => connection.close());
      const channel = await connection.createConfirmChannel();
      const { queue } = await channel.assertQueue("", { exclusive: true });
      const count = 500;
      const received: string[] = [];
      await channel.consume(queue, (message: ConsumeMessage | null) => {
        if (message === null) return;
        received.push(message.content.toString());
        channel.ack(message);
      });
      for (let n = 0; n < count; n++) channel.sendToQueue(queue, Buffer.from(`message ${n}`));
      await channel.waitForConfirms();
      await until("all messages", () => received.length === count);
      t.same(
        received,
        Array.from({ length: count }, (_, n) => `message ${n}`),
        "all, once, in order",
      );
    },
  );
}
