import { rm } from "node:fs/promises";
import path from "node:path";
import { freePorts } from "../free-ports.js";
import { median } from "../median.js";
import { RemoraMesh, remoraVersion } from "../planes/remora-mesh.js";
import type { Started } from "../processes.js";
import type { Suite, SuiteContext } from "../suite.js";
import type { Target } from "../target.js";

const readyLine = "sidecar ready";
const readyTimeoutMs = 30_000;

const ways = [
  {
    id: "disk",
    text: "certificate and snapshot on disk, control plane away",
    most: 0.4,
  },
  { id: "control plane", text: "certificate on disk, snapshot from the control plane", most: 0.8 },
  { id: "join", text: "first start: join token, certificate and snapshot from the control plane", most: 0.8 },
] as const;
type Way = (typeof ways)[number]["id"];

const targets: readonly Target[] = ways.map(({ id, text, most }) => ({
  id,
  what: `sidecar start to ready, ${text}`,
  against: "",
  bound: { side: "most", value: most, unit: "s" },
}));

/** From the start of the command to the line that says ready. */
export const start: Suite = {
  name: "start",
  title: "Start of a sidecar",
  targets,
  planes: [],
  usual: { seconds: 1, roundCount: 10 },
  async run(context) {
    const { dir, processes, roundCount, progress } = context;
    const mesh = await RemoraMesh.start({ dir, processes });
    const starts = new Starts(context, mesh);
    progress(`${roundCount} starts each`);
    await starts.prepare();
    for (let round = 0; round < roundCount; round++) {
      await starts.bare();
      await starts.one("join");
      await starts.one("control plane");
    }
    await mesh.controlPlane.stop();
    for (let round = 0; round < roundCount; round++) await starts.one("disk");
    const seconds = (ms: number): string => (ms / 1000).toFixed(3);
    const row = (text: string, all: readonly number[]): readonly string[] => [
      text,
      ...[median(all), Math.min(...all), Math.max(...all)].map(seconds),
    ];
    return {
      how: `\`remora sidecar\` with two upstreams, from spawn to its log line "${readyLine}"; ${roundCount} starts each, medians.`,
      subjects: [{ name: "Remora", version: await remoraVersion(processes), note: "" }],
      tables: [
        {
          title: "",
          head: ["start", "median s", "fastest s", "slowest s"],
          rows: [
            ...ways.map(({ id, text }) => row(text, starts.tookMs[id])),
            row("for scale: `node -e 0`", starts.bareMs),
          ],
        },
      ],
      gaps: [],
      findings: new Map(ways.map(({ id }) => [id, { value: median(starts.tookMs[id]) / 1000 }])),
      data: { tookMs: starts.tookMs, bareMs: starts.bareMs },
      isRemoraMeasured: true,
    };
  },
};

class Starts {
  readonly tookMs: Readonly<Record<Way, number[]>> = { disk: [], "control plane": [], join: [] };
  readonly bareMs: number[] = [];
  readonly #context: SuiteContext;
  readonly #mesh: RemoraMesh;
  #appPort = 0;

  constructor(context: SuiteContext, mesh: RemoraMesh) {
    this.#context = context;
    this.#mesh = mesh;
  }

  /** An upstream that is there, and a state folder with certificate and snapshot. */
  async prepare(): Promise<void> {
    [this.#appPort = 0] = await freePorts(1);
    const api = await this.#mesh.sidecar("api", { appPort: this.#appPort, flags: [] });
    await api.untilOutput(readyLine, readyTimeoutMs);
    const web = await this.#launch("web", true);
    await web.untilOutput(readyLine, readyTimeoutMs);
    await web.stop(); // which writes the snapshot
  }

  async one(way: Way): Promise<void> {
    const mesh = this.#mesh;
    const isJoin = way === "join";
    if (isJoin) await rm(mesh.stateDir("fresh"), { recursive: true, force: true });
    else if (way === "control plane") await rm(path.join(mesh.stateDir("web"), "snapshot"), { force: true });
    const token = isJoin ? await mesh.token("web") : undefined;
    const startMs = performance.now();
    const sidecar = await this.#launch(isJoin ? "fresh" : "web", false, token);
    this.tookMs[way].push((await sidecar.untilOutput(readyLine, readyTimeoutMs)) - startMs);
    await sidecar.stop();
  }

  /** What Node itself takes. */
  async bare(): Promise<void> {
    const startMs = performance.now();
    await this.#context.processes.run(process.execPath, ["-e", "0"]);
    this.bareMs.push(performance.now() - startMs);
  }

  #launch(stateName: string, hasToken: boolean, tokenFile?: string): Promise<Started> {
    return this.#mesh.sidecar("web", {
      appPort: this.#appPort,
      stateName,
      hasToken,
      flags: [
        ...["--upstream", "api:0", "--upstream", "reviews:0"],
        ...(tokenFile === undefined ? [] : ["--token-file", tokenFile]),
      ],
    });
  }
}
