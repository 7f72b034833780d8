import { setTimeout as sleep } from "node:timers/promises";
import type { Running } from "../support/cli-mesh.js";
import { bystanders, type ChaosMesh } from "./chaos-mesh.js";
import { sendSteadily, type Outcome } from "./steady-load.js";

/** What a client saw, and what the failing service had to bear. */
export interface Seen {
  readonly client: Outcome;
  /** Requests that the failing instances received for each one sent; undefined where none is left to count. */
  readonly loadFactor: number | undefined;
}

export interface Scenario {
  readonly name: string;
  readonly what: string;
  /** catalog with its four instances, or orders with the chain behind it. */
  readonly calls: "catalog" | "orders";
  readonly ratePerSecond: number;
  /** A shorter run proves nothing. */
  readonly leastSeconds?: number;
  /** The instances that fail. */
  readonly victims: (mesh: ChaosMesh) => readonly Running[];
  /** Called when a quarter of the load is sent. */
  readonly fail: (mesh: ChaosMesh, seconds: number) => Promise<void>;
  readonly heal: (mesh: ChaosMesh) => Promise<void>;
  /** One line for each promise that Remora broke. */
  readonly broken: (remora: Seen, without: Seen) => readonly string[];
}

const first = ({ catalog }: ChaosMesh): readonly Running[] => catalog.slice(0, 1);
const half = ({ catalog }: ChaosMesh): readonly Running[] => catalog.slice(0, 2);
const all = ({ catalog }: ChaosMesh): readonly Running[] => catalog;
const bank = ({ chain }: ChaosMesh): readonly Running[] => chain.slice(2);

/** All instances that `victims` names do `mode`. */
function misbehave(
  victims: Scenario["victims"],
  mode: string,
  ms = 0,
): Pick<Scenario, "victims" | "fail" | "heal"> {
  const setAll = async (mesh: ChaosMesh, to: string): Promise<void> => {
    await Promise.all(victims(mesh).map((victim) => mesh.set(victim, to, ms)));
  };
  return { victims, fail: (mesh) => setAll(mesh, mode), heal: (mesh) => setAll(mesh, "ok") };
}

function vanish(victims: Scenario["victims"]): Pick<Scenario, "victims" | "fail" | "heal"> {
  return {
    victims,
    fail: async (mesh) => void (await Promise.all(victims(mesh).map((victim) => mesh.crash(victim)))),
    heal: async (mesh) => void (await Promise.all(victims(mesh).map((victim) => mesh.restart(victim)))),
  };
}

const atLeast =
  (share: number): Scenario["broken"] =>
  ({ client: { good, sent } }) =>
    good >= sent * share ? [] : [`${good} of ${sent} requests succeeded, promised ${share * 100} %`];

/** Two windows of the retry budget, 10 s each, less the quarter of the load before the failure: it allows as much in one burst. */
const twoWindows = { leastSeconds: 26, ratePerSecond: 300 };
/** The budget: a fifth, and ten in each second. */
const noStorm: Scenario["broken"] = ({ loadFactor = Infinity }) =>
  loadFactor <= 1.25 ? [] : [`the failing service received ${loadFactor.toFixed(2)}x, promised 1.25x`];

export const scenarios: readonly Scenario[] = [
  {
    ...{ name: "crash", what: "one of four instances is killed with its sidecar", calls: "catalog" },
    ...{ ratePerSecond: 100, ...vanish(first), broken: atLeast(0.995) },
  },
  {
    ...{ name: "half gone", what: "two of four instances are killed", calls: "catalog" },
    ...{ ratePerSecond: 100, ...vanish(half), broken: atLeast(0.99) },
  },
  {
    ...{ name: "hang", what: "one of four instances accepts and never answers", calls: "catalog" },
    ...{ ratePerSecond: 100, ...misbehave(first, "hang"), broken: atLeast(0.99) },
  },
  {
    ...{ name: "resets", what: "one of four instances resets every connection", calls: "catalog" },
    ...{ ratePerSecond: 100, ...misbehave(first, "reset"), broken: atLeast(0.995) },
  },
  {
    ...{
      name: "flapping",
      what: "one of four instances answers 503 every other half second",
      calls: "catalog",
    },
    ...{ ratePerSecond: 100, ...misbehave(first, "flap"), broken: atLeast(0.99) },
  },
  {
    ...{
      name: "slow start",
      what: "one of four instances is cold: 400 ms at first, quick after 3 s",
      calls: "catalog",
    },
    ...{ ratePerSecond: 100, ...misbehave(first, "warm", 400) },
    broken: (remora, without) => [
      ...atLeast(1)(remora, without),
      ...((remora.loadFactor ?? 1) <= 0.1 ? [] : ["the cold instance got more than a tenth of the requests"]),
    ],
  },
  {
    ...{ name: "all fail", what: "all four instances answer 503", calls: "catalog" },
    ...{ ...twoWindows, ...misbehave(all, "unavailable"), broken: noStorm },
  },
  {
    ...{
      name: "retry storm",
      what: "the leaf behind two services answers 503; every hop may send three times",
      calls: "orders",
    },
    ...{ ...twoWindows, ...misbehave(bank, "unavailable"), broken: noStorm },
  },
  {
    ...{
      name: "neighbour hangs",
      what: "prices hangs under 50 requests/s of its own; seen is catalog",
      calls: "catalog",
    },
    ratePerSecond: 100,
    victims: () => [],
    fail: async (mesh, seconds) => {
      await mesh.set(mesh.prices, "hang");
      void sendSteadily({
        ...{ ratePerSecond: 50, seconds: seconds * 0.7, patienceMs: 1000, path: "/" },
        port: () => mesh.port("prices"),
      });
    },
    heal: (mesh) => mesh.set(mesh.prices, "ok"),
    broken: atLeast(1),
  },
];

/** Patience of a client that waits for nobody. */
const patienceMs = 3000;

/** Runs a scenario once. @param via the port of the n-th request and its path, or shop's sidecar when undefined. */
export async function runScenario(
  mesh: ChaosMesh,
  scenario: Scenario,
  seconds: number,
  via: { readonly port: (n: number) => number; readonly path: string } | undefined,
): Promise<Seen & { readonly bystanders: Outcome }> {
  const path = scenario.calls === "orders" ? "/chain" : "/";
  const through = via ?? { port: () => mesh.port(scenario.calls), path };
  const victims = scenario.victims(mesh);
  const load = sendSteadily({ ratePerSecond: scenario.ratePerSecond, seconds, patienceMs, ...through });
  const beside = sendSteadily({
    ...{ ratePerSecond: 20, seconds, patienceMs, path: "/" },
    port: (n) => mesh.port(bystanders[n % bystanders.length] ?? ""),
  });
  await sleep((seconds / 4) * 1000);
  await Promise.all(victims.map((victim) => mesh.received(victim)));
  await scenario.fail(mesh, seconds);
  const client = await load;
  const others = await beside;
  const loadFactor = await loadOn(mesh, victims, (client.sent * 3) / 4);
  await scenario.heal(mesh);
  await mesh.untilWell();
  return { client, loadFactor, bystanders: others };
}

async function loadOn(
  mesh: ChaosMesh,
  victims: readonly Running[],
  sent: number,
): Promise<number | undefined> {
  if (victims.length === 0) return undefined;
  const counts = await Promise.all(victims.map((victim) => mesh.received(victim).catch(() => undefined)));
  const known = counts.filter((count) => count !== undefined);
  return known.length === 0 ? undefined : known.reduce((sum, count) => sum + count, 0) / sent;
}

/** Past the mesh: a client that knows all addresses and takes them in turn, or the chain with retries in each application. */
export function direct(mesh: ChaosMesh, { calls }: Scenario): NonNullable<Parameters<typeof runScenario>[3]> {
  if (calls === "catalog") {
    const ports = mesh.catalog.map(({ app }) => app);
    return { port: (n) => ports[n % ports.length] ?? 0, path: "/" };
  }
  const [orders, payment, bankApp] = mesh.chain.map(({ app }) => app);
  return { port: () => orders ?? 0, path: `/chain?direct=${payment},${bankApp}` };
}
