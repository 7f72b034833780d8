import { readFileSync } from "node:fs";
import type Consul from "consul";
import { ConfigError } from "../errors/config-error.js";
import { fullJitterMs } from "../time/backoff.js";
import type { Clock } from "../time/clock.js";
import { sleep } from "../time/clock.js";
import type { CheckStatus, ConsulService } from "./consul-service.js";
import { checkIdsOf, defineService, sidecarId, ttlCheckId } from "./consul-service.js";

export interface ConsulRegistrationOptions {
  /** The local agent: `http://127.0.0.1:8500`. */
  readonly url: string;
  readonly token?: string | undefined;
  /** PEM file of the CA that signed the agent's certificate, for an https URL. */
  readonly caFile?: string | undefined;
  readonly service: ConsulService;
  /** The sidecar's inbound mTLS port; it must be bound already. */
  readonly inboundPort: number;
  readonly clock: Clock;
  /** One line when the agent is lost, and one when it is found again. */
  readonly log: (message: string) => void;
}

export interface ConsulRegistration {
  /** What the TTL checks report from now on (passing at first); sent at once and then every third of their time. */
  setTtlStatus(status: CheckStatus, note?: string): void;
  /** Takes the instance out of traffic, or puts it back, without deregistering it. */
  maintenance(isOn: boolean, reason?: string): Promise<void>;
  /** Ends the upkeep and removes both registrations. Idempotent; rejects with one line when the agent cannot be reached. */
  deregister(): Promise<void>;
}

const requestTimeoutMs = 5000;
const verifyEveryMs = 5000;
/** The agent is on this machine: asking twice a second costs nothing and ends an outage quickly. */
const retry = { baseMs: 100, maxMs: 500 };

/**
 * Registers the service and its sidecar with the local agent, feeds TTL checks, and registers again whenever the agent
 * has lost the registration (its data was wiped, or it reaped the service).
 *
 * @throws ConfigError when the first registration fails: agent unreachable, permission, refused values.
 */
export async function registerWithConsul(options: ConsulRegistrationOptions): Promise<ConsulRegistration> {
  const registration = new Registration(options, await connect(options));
  await registration.start();
  return registration;
}

/** Loaded here only: a sidecar without Consul does not pay for the package. */
async function connect(options: ConsulRegistrationOptions): Promise<Consul> {
  const { default: Client } = await import("consul");
  const url = URL.canParse(options.url) ? new URL(options.url) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw new ConfigError(`"${options.url}" is no Consul address: write it like http://127.0.0.1:8500`);
  let ca: Buffer | undefined;
  try {
    ca = options.caFile === undefined ? undefined : readFileSync(options.caFile);
  } catch (error) {
    throw new ConfigError(
      `cannot read Consul's CA file ${options.caFile}: check the path and its permissions`,
      {
        cause: error,
      },
    );
  }
  const settings = {
    baseUrl: `${url.origin}${url.pathname.replace(/\/$/, "")}/v1`,
    timeout: requestTimeoutMs,
    ...(ca === undefined ? {} : { ca }),
    ...(options.token === undefined ? {} : { defaults: { token: options.token } }),
  };
  return new Client(settings as ConstructorParameters<typeof Client>[0]);
}

class Registration implements ConsulRegistration {
  readonly #options: ConsulRegistrationOptions;
  readonly #consul: Consul;
  readonly #ended = new AbortController();
  /** Calls to the agent go one after the other: a registration on its way must not overtake the deregistration. */
  #queue: Promise<unknown> = Promise.resolve();
  /** Key: check id. */
  #lastStatus = new Map<string, CheckStatus>();
  #ttl: { status: CheckStatus; note: string } = { status: "passing", note: "" };
  #maintenance: { isOn: boolean; reason: string } = { isOn: false, reason: "" };
  #deregistered: Promise<void> | undefined;
  #isLost = false;
  #wake = new AbortController();

  constructor(options: ConsulRegistrationOptions, consul: Consul) {
    this.#options = options;
    this.#consul = consul;
  }

  async start(): Promise<void> {
    try {
      await this.#register();
      await this.#statuses();
    } catch (error) {
      this.#consul.destroy();
      throw new ConfigError(this.#explain("register", error), { cause: error });
    }
    void this.#keep();
  }

  setTtlStatus(status: CheckStatus, note = ""): void {
    this.#ttl = { status, note };
    if (this.#hasTtl()) this.#inTurn(() => this.#beat()).catch(() => this.#wake.abort());
  }

  async maintenance(isOn: boolean, reason = ""): Promise<void> {
    this.#maintenance = { isOn, reason };
    try {
      await this.#inTurn(() => this.#setMaintenance());
    } catch (error) {
      throw new Error(this.#explain("change the maintenance mode of", error), { cause: error });
    }
  }

  deregister(): Promise<void> {
    this.#ended.abort();
    this.#wake.abort();
    this.#deregistered ??= this.#inTurn(async () => {
      const { id } = this.#options.service;
      try {
        // Consul removes the sidecar with its service; asking again covers one that was registered apart.
        for (const each of [id, sidecarId(id)])
          await this.#consul.agent.service.deregister(each).catch(unlessUnknown);
      } catch (error) {
        throw new Error(this.#explain("deregister", error), { cause: error });
      } finally {
        this.#consul.destroy();
      }
    });
    return this.#deregistered;
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(action);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  /** Verifies every 5 s, beats in between, heals what is missing; ends with deregister(). */
  async #keep(): Promise<void> {
    const { clock } = this.#options;
    let failures = 0;
    const beatMs = Math.min(...this.#ttls().map((ttlMs) => ttlMs / 3), verifyEveryMs);
    let verifyAtMs = clock.monotonicMs() + verifyEveryMs;
    while (!this.#ended.signal.aborted) {
      const nextMs = Math.min(beatMs, Math.max(0, verifyAtMs - clock.monotonicMs()));
      const waitMs = failures === 0 ? nextMs : fullJitterMs(retry, failures, () => clock.random());
      this.#wake = new AbortController();
      await sleep(clock, waitMs, this.#wake.signal);
      try {
        const isDue = failures > 0 || this.#wake.signal.aborted || clock.monotonicMs() >= verifyAtMs;
        await this.#inTurn(async () => {
          if (isDue) await this.#verify();
          if (!this.#ended.signal.aborted) await this.#beat();
        });
        if (isDue) verifyAtMs = clock.monotonicMs() + verifyEveryMs * (0.9 + 0.2 * clock.random());
        if (failures > 0 && !this.#ended.signal.aborted)
          this.#options.log(`registered with consul at ${this.#options.url} again`);
        failures = 0;
        this.#isLost = false;
      } catch (error) {
        if (failures++ === 0 && !this.#ended.signal.aborted)
          this.#options.log(this.#explain("verify", error));
        this.#isLost = true;
      }
    }
  }

  async #verify(): Promise<void> {
    if (this.#ended.signal.aborted) return;
    const found = await this.#statuses();
    const wanted = checkIdsOf(defineService(this.#options.service, this.#options.inboundPort, new Map()));
    const isWhole = wanted.every((check) => found.has(check));
    // An agent that comes back holds all checks critical until they ran: what it said before is the better guess.
    if (!isWhole || this.#isLost) await this.#register();
    else this.#lastStatus = found;
  }

  /** What the agent has of the service's and its sidecar's checks. A web server may answer 200 to everything. */
  async #statuses(): Promise<Map<string, CheckStatus>> {
    const { id } = this.#options.service;
    const filter = `ServiceID == ${JSON.stringify(id)} or ServiceID == ${JSON.stringify(sidecarId(id))}`;
    const checks: unknown = await this.#consul.agent.check.list({ filter });
    if (typeof checks !== "object" || checks === null || Buffer.isBuffer(checks))
      throw new Error("what answers there is no agent of Consul");
    return statusesOf(checks);
  }

  async #register(): Promise<void> {
    const { service, inboundPort } = this.#options;
    // The package passes the definition on as it is; its types ask for fields that Consul does not.
    const definition = defineService(service, inboundPort, this.#lastStatus);
    await this.#consul.agent.service.register(definition);
    await this.#beat();
    if (this.#maintenance.isOn) await this.#setMaintenance();
  }

  async #setMaintenance(): Promise<void> {
    const { isOn, reason } = this.#maintenance;
    await this.#consul.agent.service.maintenance({ id: this.#options.service.id, enable: isOn, reason });
  }

  async #beat(): Promise<void> {
    const { checks, id } = this.#options.service;
    for (const [index, check] of checks.entries()) {
      if (check.kind !== "ttl") continue;
      const beat = { id: ttlCheckId(id, index), note: this.#ttl.note };
      if (this.#ttl.status === "passing") await this.#consul.agent.check.pass(beat);
      else if (this.#ttl.status === "warning") await this.#consul.agent.check.warn(beat);
      else await this.#consul.agent.check.fail(beat);
    }
  }

  #ttls(): readonly number[] {
    return this.#options.service.checks.flatMap((check) => (check.kind === "ttl" ? [check.ttlMs] : []));
  }

  #hasTtl(): boolean {
    return this.#ttls().length > 0;
  }

  #explain(what: string, error: unknown): string {
    const { service, url } = this.#options;
    const start = `cannot ${what} service ${service.name} (${service.id}) with consul at ${url}`;
    const { statusCode, response, message, code } = error as PackageError;
    if (statusCode === undefined)
      return `${start}: ${code ?? message}; is the agent running there? (--consul sets its address)`;
    const body = JSON.stringify(
      String(response?.body ?? message)
        .slice(0, 200)
        .trim(),
    );
    if (statusCode === 403)
      return `${start}: permission denied ${body}: its token needs service:write for ${service.name}`;
    return `${start}: it answered ${statusCode} ${body}`;
  }
}

/** What the `consul` package rejects with. */
interface PackageError extends Error {
  readonly statusCode?: number;
  readonly code?: string;
  readonly response?: { readonly body?: unknown };
}

/** Somebody else removed it: just what is wanted. Consul answers 404, before 1.10 also 500. */
function unlessUnknown(error: PackageError): void {
  if (error.statusCode === 404) return;
  if (error.statusCode === 500 && /unknown service/i.test(String(error.response?.body))) return;
  throw error;
}

function statusesOf(checks: object): Map<string, CheckStatus> {
  const statuses = new Map<string, CheckStatus>();
  for (const [id, check] of Object.entries(checks)) {
    const status = (check as { readonly Status?: unknown } | null)?.Status;
    if (status === "passing" || status === "warning" || status === "critical") statuses.set(id, status);
  }
  return statuses;
}
