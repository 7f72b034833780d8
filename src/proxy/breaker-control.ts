import { forget } from "../balance/peak-ewma.js";
import type { EndpointSet } from "../balance/endpoint-set.js";
import type { BreakerAnswer, BreakerCommand, OverrideEvent } from "../policy/breaker-command.js";
import type { ClusterEndpoint } from "../policy/cluster-endpoint.js";
import type { EjectionBudget } from "../policy/ejection-budget.js";
import type { ServiceBreaker } from "../policy/service-breaker.js";
import type { Clock } from "../time/clock.js";
import { formatDuration } from "../time/duration.js";
import type { TimerWheel, WheelTimer } from "../time/timer-wheel.js";

export interface BreakerControlOptions {
  /** `<service>.<namespace>` */
  readonly cluster: string;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly endpoints: EndpointSet<ClusterEndpoint>;
  readonly ejections: EjectionBudget;
  /** The service's breaker, made if there is none yet. */
  readonly serviceBreaker: () => ServiceBreaker;
  readonly onOverride: (event: OverrideEvent) => void;
}

interface Override {
  readonly action: BreakerCommand["action"];
  /** As in the command. */
  readonly endpoint: string | undefined;
  readonly untilMs: number;
  readonly timer: WheelTimer;
}

/** Key of the service as a whole among the overrides. */
const wholeService = "";

/**
 * What operators do to the breakers of one cluster. Each override ends by itself; it is about a key, so that it outlives
 * pushes, and holds for an endpoint that goes and comes back.
 */
export class BreakerControl {
  readonly #options: BreakerControlOptions;
  /** Key: of the endpoint, or `wholeService`. */
  readonly #overrides = new Map<string, Override>();

  constructor(options: BreakerControlOptions) {
    this.#options = options;
  }

  drive(command: BreakerCommand): BreakerAnswer {
    const { endpoint: address } = command;
    if (address === undefined) return this.#driveService(command);
    const { endpoints } = this.#options.endpoints;
    const endpoint = endpoints.find((each) => addressOf(each) === address);
    if (endpoint !== undefined) return this.#driveEndpoint(command, endpoint, address);
    const known = endpoints.map(addressOf).join(", ");
    return refused(`${this.#options.cluster} has no endpoint ${address}; it has ${known || "none"}`);
  }

  /** Milliseconds that an endpoint stays isolated; undefined: it is not. */
  isolatedForMs(key: string): number | undefined {
    const override = this.#overrides.get(key);
    if (override?.action !== "isolate") return undefined;
    return Math.max(0, override.untilMs - this.#options.clock.monotonicMs());
  }

  /** Is an endpoint held closed by a command about itself? One about the service holds the budget of all. */
  isHeld(key: string): boolean {
    return this.#overrides.get(key)?.action === "close";
  }

  /** Is there an override now? */
  get isAtWork(): boolean {
    return this.#overrides.size > 0;
  }

  /** No override ends any more. */
  close(): void {
    for (const { timer } of this.#overrides.values()) timer.cancel();
    this.#overrides.clear();
  }

  #driveService(command: BreakerCommand): BreakerAnswer {
    const { cluster, clock, endpoints, ejections } = this.#options;
    const { action, forMs } = command;
    const nowMs = clock.monotonicMs();
    switch (action) {
      case "isolate":
        return refused("which endpoint? name it with --endpoint HOST:PORT");
      case "open":
        this.#end(wholeService, "replaced");
        this.#options.serviceBreaker().hold("open", nowMs + forMs, nowMs);
        this.#begin(wholeService, command);
        return done(`${cluster}: held open for ${formatDuration(forMs)}`);
      case "close":
      case "reset":
        for (const key of [...this.#overrides.keys()]) this.#end(key, "replaced");
        for (const each of endpoints.endpoints) putBack(each);
        if (action === "reset") {
          this.#options.serviceBreaker().reset(nowMs);
          return done(`${cluster}: reset, every breaker is closed`);
        }
        this.#options.serviceBreaker().hold("closed", nowMs + forMs, nowMs);
        ejections.isHeld = true;
        this.#begin(wholeService, command);
        return done(`${cluster}: held closed for ${formatDuration(forMs)}, no endpoint is ejected`);
    }
  }

  #driveEndpoint(command: BreakerCommand, endpoint: ClusterEndpoint, address: string): BreakerAnswer {
    const { cluster, clock, endpoints } = this.#options;
    const { action, forMs, isForced } = command;
    const { key, gate } = endpoint;
    const which = `${cluster}, endpoint ${address}`;
    switch (action) {
      case "open":
        return refused(`${which}: an endpoint is isolated, not opened; use remora breaker isolate`);
      case "isolate": {
        const nowMs = clock.monotonicMs();
        const isUsable = (each: ClusterEndpoint): boolean => each !== endpoint && each.gate.isOpen(nowMs);
        if (!isForced && !endpoints.balanced.some(isUsable))
          return refused(
            `${which}: is the last one that takes traffic; with --force it is isolated all the same, and requests fail`,
          );
        this.#end(key, "replaced");
        this.#begin(key, command);
        this.#isolate();
        return done(`${which}: isolated for ${formatDuration(forMs)}`);
      }
      case "close":
      case "reset":
        this.#end(key, "replaced");
        putBack(endpoint);
        if (action === "reset") return done(`${which}: reset, its breaker is closed`);
        gate.isHeld = true;
        this.#begin(key, command);
        return done(`${which}: held closed for ${formatDuration(forMs)}`);
    }
  }

  #begin(key: string, { action, endpoint, forMs }: BreakerCommand): void {
    const { clock, wheel, onOverride } = this.#options;
    const timer = wheel.add(forMs, { onTimer: () => this.#end(key, "ended") });
    this.#overrides.set(key, { action, endpoint, untilMs: clock.monotonicMs() + forMs, timer });
    onOverride({ action, endpoint, change: "begun", forMs });
  }

  #end(key: string, change: "ended" | "replaced"): void {
    const override = this.#overrides.get(key);
    if (override === undefined) return;
    const { clock, ejections, endpoints, serviceBreaker, onOverride } = this.#options;
    const { action, endpoint, timer } = override;
    timer.cancel();
    this.#overrides.delete(key);
    onOverride({ action, endpoint, change, forMs: 0 });
    if (key === wholeService) {
      ejections.isHeld = false;
      return serviceBreaker().release(clock.monotonicMs());
    }
    const which = endpoints.endpoints.find((each) => each.key === key);
    if (action === "isolate") {
      // Its past latency must not keep idle what takes requests again.
      if (which !== undefined) forget(which);
      return this.#isolate();
    }
    if (which !== undefined) which.gate.isHeld = false;
  }

  #isolate(): void {
    const isolated = [...this.#overrides].filter(([, { action }]) => action === "isolate");
    this.#options.endpoints.isolate(new Set(isolated.map(([key]) => key)));
  }
}

/** Closes an endpoint's breaker, and forgets what would keep requests away from it. */
function putBack(endpoint: ClusterEndpoint): void {
  endpoint.gate.lift();
  forget(endpoint);
}

function addressOf({ config: { address, port } }: ClusterEndpoint): string {
  return `${address.includes(":") ? `[${address}]` : address}:${port}`;
}

const done = (text: string): BreakerAnswer => ({ isDone: true, text });
const refused = (text: string): BreakerAnswer => ({ isDone: false, text });
