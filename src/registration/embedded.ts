import { status as grpcStatus, Metadata } from "@grpc/grpc-js";
import type { Client, ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { LatestValue } from "../lifecycle/latest-value.js";
import { fullJitterMs } from "../time/backoff.js";
import type { Clock, Timer } from "../time/clock.js";
import { registrationService } from "./registration-service.js";
import type { InstanceDeclaration, InstanceUpdate, RegistrationAck } from "./registration-service.js";

export type RegistrationStatus = "passing" | "warning" | "critical" | "maintenance";

export interface EmbeddedRegistrationOptions {
  /** gRPC client to the control plane; a new one at each certificate rotation. Not closed here. */
  readonly client: LatestValue<Client | undefined>;
  readonly instance: InstanceDeclaration;
  readonly clock: Clock;
  /** Default "passing". */
  readonly initialStatus?: RegistrationStatus;
  /** One line, for the log, each time the stream fails. */
  readonly onProblem?: (text: string) => void;
}

/** This sidecar's entry in the control plane's embedded registry, kept over reconnects and certificate rotations. */
export interface EmbeddedRegistration {
  /** True while the control plane has confirmed the entry with its present status. */
  readonly isRegistered: LatestValue<boolean>;
  /** Idempotent; a lost message is made good by the next connection. */
  setStatus(status: RegistrationStatus): void;
  /** Takes the instance out of the registry, waits at most a second for the confirmation, and stops for good. */
  close(): Promise<void>;
}

/** Below the embedded registry's settle time, so that a restarted control plane has everybody back before it publishes. */
const backoff = { baseMs: 100, maxMs: 1000 };
/** After a refusal that another attempt alone will not change. */
const refusedWaitMs = 10_000;
const closeTimeoutMs = 1000;

type Stream = ClientDuplexStream<InstanceUpdate, RegistrationAck>;

/** Registers the instance and keeps it registered until close(). */
export function registerEmbedded(options: EmbeddedRegistrationOptions): EmbeddedRegistration {
  const { client, instance, clock, onProblem } = options;
  const isRegistered = new LatestValue(false);
  let status: RegistrationStatus = options.initialStatus ?? "passing";
  let active: Stream | undefined;
  /** The stream on the previous certificate: it holds the entry until the new one is confirmed. */
  let retiring: Stream | undefined;
  let attempt = 0;
  /** One line per outage, however many attempts it takes. */
  let isReported = false;
  let retry: Timer | undefined;
  let isClosed = false;

  const retire = (): void => {
    retiring?.cancel();
    retiring = undefined;
  };
  const lost = (stream: Stream, error: ServiceError | undefined): void => {
    if (stream === retiring) retiring = undefined;
    if (stream !== active) return;
    active = undefined;
    if (retiring === undefined) isRegistered.set(false);
    if (isClosed) return;
    const problem = `registration of ${instance.id}: ${error?.details ?? "the control plane ended the stream"}`;
    if (!isReported) onProblem?.(problem);
    isReported = true;
    retry?.cancel();
    retry = clock.timer(waitMs(error, attempt++, clock), open);
  };
  const open = (): void => {
    retry?.cancel();
    retry = undefined;
    const present = client.get();
    if (present === undefined || isClosed) return;
    if (active !== undefined) {
      retire();
      retiring = active;
    }
    const { path, requestSerialize, responseDeserialize } = registrationService.Register;
    const stream = present.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata());
    active = stream;
    // grpc-js emits error (for every status but OK) and then end; each must have its listener.
    stream.on("error", (error: ServiceError) => lost(stream, error));
    stream.on("end", () => lost(stream, undefined));
    stream.on("data", (ack: RegistrationAck) => {
      if (stream !== active) return;
      attempt = 0;
      isReported = false;
      retire();
      isRegistered.set(ack.status === status);
    });
    stream.write({ instance, status });
  };
  const stopWatching = client.watch(open);
  open();

  return {
    isRegistered,
    setStatus(next) {
      if (next === status || isClosed) return;
      status = next;
      isRegistered.set(false);
      active?.write({ instance: null, status });
    },
    async close() {
      if (isClosed) return;
      isClosed = true;
      stopWatching();
      retry?.cancel();
      const streams = [active, retiring].filter((stream) => stream !== undefined);
      await Promise.all(streams.map((stream) => endStream(stream, clock)));
    },
  };
}

function waitMs(error: ServiceError | undefined, attempt: number, clock: Clock): number {
  switch (error?.code) {
    case grpcStatus.ABORTED: // another sidecar uses the same instance id: taking it back at once would make both flap
    case grpcStatus.INVALID_ARGUMENT:
    case grpcStatus.PERMISSION_DENIED:
    case grpcStatus.FAILED_PRECONDITION: // the control plane's registry is Consul
      return refusedWaitMs * (0.5 + clock.random());
    default:
      return fullJitterMs(backoff, attempt, clock.random);
  }
}

/** Half-closes and waits for the server's end: then the registry has dropped the instance. */
function endStream(stream: Stream, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.timer(closeTimeoutMs, () => stream.cancel());
    stream.once("status", () => {
      timer.cancel();
      resolve();
    });
    stream.end();
  });
}
