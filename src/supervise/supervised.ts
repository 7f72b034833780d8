import type { LatestValue } from "../lifecycle/latest-value.js";
import type { AppMesh } from "./app-environment.js";

/** What the supervisor needs of a running sidecar: src/sidecar.ts says what each means. */
export interface SupervisedSidecar {
  readonly identity: string;
  readonly ports: Pick<AppMesh, "outbound" | "upstreams">;
  readonly tcpUpstreams: AppMesh["tcpUpstreams"];
  readonly workloadApi?: AppMesh["workloadApi"];
  readonly missing: LatestValue<readonly string[]>;
  announce(): Promise<void>;
  withdraw(): Promise<void>;
  drainInbound(): Promise<void>;
  close(): Promise<void>;
}

export type SuperviseLog = (
  level: "info" | "warn" | "error",
  message: string,
  fields?: Readonly<Record<string, unknown>>,
) => void;

/** Signals and crashes of this process; `process` is one. */
export interface ProcessEvents {
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  off(event: string, listener: (...args: unknown[]) => void): unknown;
}
