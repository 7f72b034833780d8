/** The steps of the demo: each makes something happen and says what was seen; a step that did not see it throws. */
import net from "node:net";
import { readFile } from "node:fs/promises";
import path from "node:path";
import tls from "node:tls";
import { breaker, retries, split } from "./documents.js";
import type { Instance } from "../small-mesh.js";
import type { Mesh } from "./mesh.js";
import { run, until } from "./processes.js";
import { call, load, metric } from "./traffic.js";

export interface Step {
  readonly title: string;
  /** Resolves with what was seen, a line or more. */
  readonly show: (mesh: Mesh) => Promise<readonly string[]>;
}

function expect(isSeen: boolean, what: string): void {
  if (!isSeen) throw new Error(`expected: ${what}`);
}

const table = (counts: ReadonlyMap<string, number>): string =>
  [...counts]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, count]) => `${name} ${count}`)
    .join("   ");

const identity: Step = {
  title: "Who calls: the identity that api saw over mTLS",
  async show({ web }) {
    const { body } = await call(web.port, "/");
    const { caller } = JSON.parse(body) as { caller: string };
    expect(caller === "spiffe://mesh.local/ns/default/svc/web", `api sees web's SPIFFE id, it saw ${caller}`);
    return [`x-remora-caller: ${caller}`];
  },
};

const spread: Step = {
  title: "Load balancing: 600 calls over three instances, api-3 is slow",
  async show({ web, apis }) {
    const { failures, byInstance } = await load(web.port, "/", 600, 8);
    expect(failures === 0, `no failed call, there were ${failures}`);
    for (const { name } of apis) expect((byInstance.get(name) ?? 0) > 0, `${name} gets calls`);
    const slow = byInstance.get("api-3") ?? 0;
    expect(
      slow < (byInstance.get("api-1") ?? 0) && slow < (byInstance.get("api-2") ?? 0),
      "the slow one gets the fewest",
    );
    return [
      table(byInstance),
      "the slow instance gets fewest: peak-EWMA latency decides between two choices",
    ];
  },
};

const transitions = (web: Instance, to: string): Promise<number> =>
  metric(web.admin, "remora_breaker_transitions_total", { cluster: "api.default", to });

const failing: Step = {
  title: "Retries and breaker: api-2 answers 503 to everything",
  async show({ web, apis, apply }) {
    const bad = apis[1] as Instance;
    await apply(`${retries}---\n${breaker}`);
    await until("the policy in force", 5000, async () => {
      const { body } = await call(web.admin, "/config_dump");
      return body.includes("TrafficPolicy/default/api") ? true : undefined;
    });
    await call(bad.port, "/fail", "POST");
    const before = await metric(web.admin, "envoy_cluster_upstream_rq_retry", {
      envoy_cluster_name: "api.default",
    });
    const { calls, failures } = await load(web.port, "/", 400, 4);
    const spent =
      (await metric(web.admin, "envoy_cluster_upstream_rq_retry", { envoy_cluster_name: "api.default" })) -
      before;
    expect(failures === 0, `web sees no failure, it saw ${failures}`);
    expect(spent > 0, "retries were spent");
    expect((await transitions(web, "open")) > 0, "the breaker of api-2 opened");
    return [
      `${calls} calls, 0 failures seen by web, ${spent} retries spent`,
      `breaker of ${bad.name}: open after 5 failures in a row`,
    ];
  },
};

const healing: Step = {
  title: "Breaker: half-open probes, and closed again once api-2 is well",
  async show({ web, apis }) {
    const bad = apis[1] as Instance;
    // Still failing: probes are let through one at a time, and fail.
    await until("a half-open probe", 10_000, async () => {
      await load(web.port, "/", 20, 2);
      return (await transitions(web, "half_open")) > 0 ? true : undefined;
    });
    await call(bad.port, "/fail", "DELETE");
    await until("the breaker closing", 15_000, async () => {
      await load(web.port, "/", 20, 2);
      return (await transitions(web, "closed")) > 0 ? true : undefined;
    });
    const { byInstance } = await load(web.port, "/", 200, 4);
    expect((byInstance.get(bad.name) ?? 0) > 0, `${bad.name} gets calls again`);
    const [open, half, closed] = await Promise.all(
      ["open", "half_open", "closed"].map((to) => transitions(web, to)),
    );
    return [`transitions: open ${open}   half-open ${half}   closed ${closed}`, table(byInstance)];
  },
};

const changing: Step = {
  title: "remora apply while traffic flows: canary split 0 -> 30 %, then a timeout",
  async show({ web, apply }) {
    let isDone = false;
    const traffic = load(web.port, "/", Infinity, 4, () => isDone);
    await apply(split(30, "10s"));
    await until("the canary gets traffic", 5000, async () => {
      const { byInstance } = await load(web.port, "/", 20, 1);
      return byInstance.has("api-v2-1") ? true : undefined;
    });
    const { byInstance, calls } = await load(web.port, "/", 500, 4);
    const share = ((byInstance.get("api-v2-1") ?? 0) / calls) * 100;
    await apply(split(30, "300ms"));
    const late = await until("the timeout in force", 5000, async () => {
      const answer = await call(web.port, "/slow");
      return answer.status === 504 ? answer : undefined;
    });
    isDone = true;
    const { calls: background, failures } = await traffic;
    expect(failures === 0, `no failed call while policies changed, there were ${failures} of ${background}`);
    expect(share > 20 && share < 40, `about 30 % go to the canary, it was ${share.toFixed(1)} %`);
    expect(late.body.includes("timer=route"), "the 504 names its timer");
    return [
      `${share.toFixed(1)} % went to api-v2`,
      `a call of 1 s: ${late.status} ${late.body.trim()}`,
      `${background} calls meanwhile, ${failures} failed`,
    ];
  },
};

const refused: Step = {
  title: "The inbound port: plaintext and a wrong certificate are refused",
  async show({ apis, dir }) {
    const target = apis[0] as Instance;
    const servedBefore = await served(target);
    const plain = await attempt(net.connect(target.inbound, "127.0.0.1"), "connect");
    // A certificate of another authority, for the very identity that would be let in.
    const caDir = path.join(dir, "stranger");
    await run(["ca", "init", "--dir", caDir, "--trust-domain", "mesh.local"]);
    const outDir = path.join(dir, "stranger-web");
    await run(["cert", "issue", "--ca-dir", caDir, "--service", "web", "--out-dir", outDir]);
    const file = (name: string): Promise<string> => readFile(path.join(outDir, name), "utf8");
    const [cert, key] = await Promise.all([file("web.crt"), file("web.key")]);
    const stranger = tls.connect({
      host: "127.0.0.1",
      port: target.inbound,
      cert,
      key,
      rejectUnauthorized: false,
    });
    const wrong = await attempt(stranger, "secureConnect");
    expect(
      !plain.startsWith("HTTP/1.1 2") && !wrong.startsWith("HTTP/1.1 2"),
      "no answer of the application",
    );
    expect((await served(target)) === servedBefore, "not one request reached the application");
    const [reasons] = await Promise.all([metric(target.admin, "remora_peer_refusals_total")]);
    expect(reasons >= 2, "both refusals were counted");
    return [
      `plaintext: ${plain || "closed without a byte"}`,
      `certificate of another CA: ${wrong || "closed without a byte"}`,
    ];
  },
};

async function served({ port }: Instance): Promise<number> {
  return (JSON.parse((await call(port, "/served")).body) as { served: number }).served;
}

/** Sends a request as soon as the socket is up; resolves with what came back until it closed. */
function attempt(socket: net.Socket, ready: "connect" | "secureConnect"): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    socket.setTimeout(5000, () => socket.destroy());
    socket.once(ready, () => socket.write("GET / HTTP/1.1\r\nHost: api\r\n\r\n"));
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
    socket.on(
      "error",
      (error: NodeJS.ErrnoException) => (answer ||= `refused (${error.code ?? error.message})`),
    );
    socket.once("close", () => resolve(answer.split("\r\n", 1)[0] ?? ""));
  });
}

export const steps: readonly Step[] = [identity, spread, failing, healing, changing, refused];
