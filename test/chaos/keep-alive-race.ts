import http from "node:http";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startMesh, type CliMesh, type MeshOwner, type Place } from "../support/cli-mesh.js";
import { call } from "../support/http-load.js";
import type { KeepAliveApplication } from "../support/keep-alive-app.js";
import { until } from "../support/until.js";

const command: readonly string[] = [
  process.execPath,
  path.resolve(import.meta.dirname, "../support/keep-alive-app.js"),
];

export interface RaceOptions {
  /** Clients that send at the same time. */
  readonly lanes: number;
  /** For how long the lanes send, at the least. */
  readonly seconds: number;
}

/** An application that closes idle connections. */
interface Closer {
  readonly name: string;
  readonly keepAliveMs: number;
  readonly isSilent: boolean;
}

const closers: readonly Closer[] = [
  // Nothing says when it closes: what is safe with every common server must be safe with this one.
  { name: "silent", keepAliveMs: 5000, isSilent: true },
  // As Node does it: `Keep-Alive: timeout=5`, or 2, which is less than what is safe with others.
  { name: "five", keepAliveMs: 5000, isSilent: false },
  { name: "two", keepAliveMs: 2000, isSilent: false },
];

/** What the clients of one application saw, and what it executed. */
export interface RaceSeen extends KeepAliveApplication {
  readonly name: string;
  readonly keepAliveMs: number;
  readonly sent: readonly string[];
  /** One line for each request that was not answered with 200. */
  readonly failures: readonly string[];
}

/** Pause of the first two requests of each lane: nobody closes a connection so soon. */
const soonMs = 200;
/** How far around the time at which the application closes its connections the lanes send. */
const aroundMs = 100;
/** A connection is not used any more so long before the application closes it. */
const marginMs = 500;

/** Requests, every second a POST, that come just before, at and just after the end of the connections they might be sent on. */
export async function runKeepAliveRace(
  owner: MeshOwner,
  { lanes, seconds }: RaceOptions,
): Promise<readonly RaceSeen[]> {
  const mesh = await startMesh(owner);
  const web = await mesh.join({
    ...{ name: "web", service: "web", command: [] },
    upstreams: closers.map(({ name }) => name),
  });
  const apps = await Promise.all(
    closers.map(async ({ name, keepAliveMs, isSilent }) => {
      const env = { LANES: `${lanes}`, KEEP_ALIVE_MS: `${keepAliveMs}`, SILENT: isSilent ? "1" : "0" };
      return { keepAliveMs, app: await joinKeepAliveApp(mesh, web, name, env) };
    }),
  );
  return Promise.all(
    apps.map(async ({ keepAliveMs, app }) => {
      const around = (): number => keepAliveMs + aroundMs * (2 * Math.random() - 1);
      const pauses = Array.from({ length: Math.ceil((seconds * 1000) / keepAliveMs) }, () => around);
      const port = web.upstreams.get(app.service) ?? 0;
      const result = await sendInLanes(port, lanes, [() => 0, () => soonMs, ...pauses]);
      return { name: app.name, keepAliveMs, ...result, ...(await seenBy(app)) };
    }),
  );
}

/** Starts test/support/keep-alive-app.ts as a service that `caller` has as an upstream. */
export async function joinKeepAliveApp(
  mesh: CliMesh,
  caller: Place,
  name: string,
  env: Readonly<Record<string, string>>,
): Promise<Place> {
  const app = await mesh.join({ name, service: name, command, env });
  await mesh.untilKnown(caller, name, [app]);
  await until(name, () => seenBy(app));
  return app;
}

export async function seenBy({ app }: Place): Promise<KeepAliveApplication> {
  return JSON.parse((await call({ port: app, path: "/seen" })).body) as KeepAliveApplication;
}

/** One request of each lane after each pause; the next pause begins for all lanes when the last one has its answer. */
export async function sendInLanes(
  port: number,
  lanes: number,
  pauses: readonly (() => number)[],
): Promise<Pick<RaceSeen, "sent" | "failures">> {
  const agent = new http.Agent({ keepAlive: true });
  const sent: string[] = [];
  const failures: string[] = [];
  const send = async (id: string, method: string, pauseMs: number): Promise<void> => {
    await sleep(pauseMs);
    sent.push(id);
    const body = method === "POST" ? id : "";
    const note = (what: string): void => void failures.push(`${id} after ${Math.round(pauseMs)} ms: ${what}`);
    try {
      const { status, error } = await call({ port, method, path: `/?id=${id}`, body, agent });
      if (status !== 200) note(`${status} ${error ?? ""}`);
    } catch (error) {
      note(String(error));
    }
  };
  for (const [round, pause] of pauses.entries())
    await Promise.all(
      Array.from({ length: lanes }, (_, lane) => {
        const method = (round + lane) % 2 === 0 ? "GET" : "POST";
        return send(`${method}-${round}-${lane}`, method, pause());
      }),
    );
  agent.destroy();
  return { sent, failures };
}

/** One line for each promise that was broken. */
export function brokenInRace(seen: RaceSeen): readonly string[] {
  const { name, keepAliveMs, sent, failures, executed, onReused, longestIdleMs } = seen;
  const times = new Map<string, number>();
  for (const id of executed) times.set(id, (times.get(id) ?? 0) + 1);
  const twice = sent.filter((id) => id.startsWith("POST") && (times.get(id) ?? 0) > 1);
  const never = sent.filter((id) => !times.has(id));
  return [
    ...(failures.length === 0 ? [] : [`${failures.length} of ${sent.length} failed: ${list(failures)}`]),
    ...(twice.length === 0 ? [] : [`executed more than once: ${list(twice)}`]),
    ...(never.length === 0 ? [] : [`never executed: ${list(never)}`]),
    // Whoever never uses a connection again runs no race.
    ...(onReused > 0 ? [] : ["no connection was used twice"]),
    // Chance alone decides how many of the requests that would be lost are lost.
    ...(longestIdleMs <= keepAliveMs - marginMs
      ? []
      : [`a connection was used after ${Math.round(longestIdleMs)} of ${keepAliveMs} ms`]),
  ].map((what) => `${name}: ${what}`);
}

const list = (lines: readonly string[]): string => lines.slice(0, 5).join("; ");
