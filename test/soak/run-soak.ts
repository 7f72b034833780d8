/**
 * A mesh under a modest mixed load for a long time, while connections, policies, certificates and instances come and go and one
 * request in a hundred is cut off by its application.
 */
import { readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MeshOwner } from "../support/cli-mesh.js";
import { miscounted, startMixedMesh, type MixedMesh } from "../support/mixed-mesh.js";
import { MixedTraffic } from "../support/mixed-traffic.js";
import {
  judge,
  spareDescriptors,
  type ProcessSample,
  type ProcessVerdict,
  type SoakSample,
} from "./soak-verdict.js";

export interface SoakOptions {
  readonly seconds: number;
  readonly ratePerSecond: number;
  readonly sampleMs: number;
  /** Between two changes of instances. */
  readonly changeMs: number;
  /** Life of a leaf, as the control plane's flag has it. */
  readonly leafTtl: string;
  readonly onSample?: (sample: SoakSample) => void;
}

export interface SoakReport {
  readonly samples: readonly SoakSample[];
  readonly verdicts: readonly ProcessVerdict[];
  readonly requests: number;
  readonly policyPushes: number;
  readonly instanceChanges: number;
  readonly problems: readonly string[];
}

/** Longer than any timer that keeps an unused connection open. */
const coolMs = 100_000;
const faults = 0.01;
const churn = 0.1;
const pushMs = 5000;

export async function runSoak(owner: MeshOwner, options: SoakOptions): Promise<SoakReport> {
  const mixed = await startMixedMesh(owner, ["--leaf-ttl", options.leafTtl]);
  const { targets, apps, pids } = mixed;
  const warm = new MixedTraffic({ targets, seed: 1 });
  await warm.run(50, 5);
  await warm.reconnect();
  const before = await quiet(pids, undefined, 5000);

  const traffic = new MixedTraffic({ targets, seed: 2, faults, churn });
  const samples: SoakSample[] = [];
  const startMs = performance.now();
  const elapsedMs = (): number => performance.now() - startMs;
  const isOver = (): boolean => elapsedMs() >= options.seconds * 1000;
  const changes = { policyPushes: 0, instanceChanges: 0, problems: [] as string[] };
  const sample = (): void => {
    const problems = traffic.problems.length + changes.problems.length;
    const one = { seconds: elapsedMs() / 1000, requests: traffic.done, problems, processes: sampleAll(pids) };
    samples.push(one);
    options.onSample?.(one);
  };
  const every = async (ms: number, act: () => Promise<void> | void): Promise<void> => {
    for (let next = ms; !isOver(); next += ms) {
      await sleep(Math.max(0, Math.min(next, options.seconds * 1000) - elapsedMs()));
      try {
        await act();
      } catch (error: unknown) {
        changes.problems.push(String(error));
      }
    }
  };
  const instances = new Instances(mixed);
  await Promise.all([
    send(traffic, options.ratePerSecond, isOver),
    every(options.sampleMs, sample),
    every(pushMs, () => mixed.mesh.apply(policies(changes.policyPushes++))),
    every(options.changeMs, async () => {
      await instances.change();
      changes.instanceChanges++;
    }),
  ]);
  await traffic.reconnect();
  await instances.leave().catch((error: unknown) => changes.problems.push(String(error)));
  const after = await quiet(pids, before, coolMs);
  const verdicts = [...pids.keys()].map((name) =>
    judge(name, samples, before.get(name) as ProcessSample, after.get(name) as ProcessSample),
  );
  const problems = [
    ...[...warm.problems, ...traffic.problems, ...changes.problems],
    ...miscounted(traffic.sent, apps),
    ...apps.flatMap((app) => app.problems),
  ];
  return { samples, verdicts, requests: traffic.done, ...changes, problems };
}

/** Requests at a rate, answered or not. */
async function send(traffic: MixedTraffic, ratePerSecond: number, isOver: () => boolean): Promise<void> {
  const pending = new Set<Promise<void>>();
  const startMs = performance.now();
  for (let sent = 0; !isOver();) {
    for (const due = ((performance.now() - startMs) / 1000) * ratePerSecond; sent < due; sent++) {
      const one = traffic.one().finally(() => pending.delete(one));
      pending.add(one);
    }
    await sleep(5);
  }
  await Promise.all(pending);
}

/** A second instance of api that comes and goes. */
class Instances {
  readonly #mixed: MixedMesh;
  #second: Awaited<ReturnType<MixedMesh["secondApi"]>> | undefined;
  #isThere = false;

  constructor(mixed: MixedMesh) {
    this.#mixed = mixed;
  }

  async change(): Promise<void> {
    const { mesh, web, api } = this.#mixed;
    if (this.#isThere) return this.leave();
    this.#second ??= await this.#mixed.secondApi();
    await rm(path.join(this.#second.stateDir, "svid.pem"), { force: true });
    this.#second.process = mesh.run(this.#second);
    this.#isThere = true;
    await mesh.untilKnown(web, "api", [api, this.#second]);
  }

  async leave(): Promise<void> {
    if (!this.#isThere || this.#second === undefined) return;
    this.#isThere = false;
    const exit = await this.#second.process?.stop();
    if (exit?.code !== 0) throw new Error(`the second instance ended with ${exit?.code ?? exit?.signal}`);
    await this.#mixed.mesh.untilKnown(this.#mixed.web, "api", [this.#mixed.api]);
  }
}

const policies = (n: number): string =>
  ["api", "web"]
    .map(
      (name) => `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: ${name}}
spec:
  targetRefs: [{group: "", kind: Service, name: ${name}}]
  connectionPool: {tcp: {idleTimeout: ${600 + (n % 60)}s}}
`,
    )
    .join("---\n");

function sampleAll(pids: ReadonlyMap<string, number>): Map<string, ProcessSample> {
  return new Map([...pids].map(([name, pid]) => [name, sampleOf(pid)]));
}

function sampleOf(pid: number): ProcessSample {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "0";
  return { rssMib: Number(kib) / 1024, descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

/** Samples without load: when descriptors are back at their first level, or at the latest after `patienceMs`. */
async function quiet(
  pids: ReadonlyMap<string, number>,
  first: ReadonlyMap<string, ProcessSample> | undefined,
  patienceMs: number,
): Promise<Map<string, ProcessSample>> {
  const untilMs = performance.now() + patienceMs;
  for (;;) {
    const now = sampleAll(pids);
    const isBack = [...now].every(
      ([name, { descriptors }]) =>
        descriptors <= (first?.get(name)?.descriptors ?? -Infinity) + spareDescriptors,
    );
    if (isBack || performance.now() > untilMs) return now;
    await sleep(500);
  }
}
