import { status as grpcStatus } from "@grpc/grpc-js";
import type { ServerDuplexStream } from "@grpc/grpc-js";
import type { InstanceUpdate, RegistrationAck } from "../../src/registration/registration-service.js";
import type { Clock } from "../../src/time/clock.js";
import { parseStatus, readDeclaration } from "../catalog/declaration.js";
import type { RefuseAddress } from "../catalog/consul-health.js";
import type { EmbeddedCatalog, Registration } from "../catalog/embedded.js";
import type { PeerOf } from "../peer.js";

export interface RegistrationHandlerOptions {
  /** undefined when the registry is another one: sidecars then hear where to register. */
  readonly catalog: EmbeddedCatalog | undefined;
  readonly peerOf: PeerOf;
  readonly clock: Clock;
  /** Why no instance may be at this address, or undefined: the control plane's own ports are none. */
  readonly refuse: RefuseAddress;
}

type RegisterStream = ServerDuplexStream<InstanceUpdate, RegistrationAck>;

/** A stream that declares nothing holds a stream slot for nothing. */
const declareTimeoutMs = 10_000;

/** The implementation of `remora.v1.Registration`: the stream is the registration. */
export function createRegistrationHandler(options: RegistrationHandlerOptions): {
  readonly Register: (call: RegisterStream) => void;
} {
  const { catalog, peerOf, clock, refuse } = options;
  if (catalog === undefined) return { Register: refuseAll };
  return {
    Register(call) {
      let registration: Registration | undefined;
      let instanceId = "";
      let isOver = false;
      const finish = (code: grpcStatus, details: string): void => {
        if (isOver) return;
        isOver = true;
        declared.cancel();
        registration?.remove();
        if (code === grpcStatus.OK) call.end();
        else call.emit("error", { code, details });
      };
      const declared = clock.timer(declareTimeoutMs, () =>
        finish(grpcStatus.DEADLINE_EXCEEDED, "no instance was declared within 10s"),
      );

      const declare = (
        update: InstanceUpdate,
        status: NonNullable<ReturnType<typeof parseStatus>>,
      ): Registration | string | undefined => {
        const { identity, address } = peerOf(call);
        if (identity === undefined) return "a client certificate is needed to register";
        if (update.instance === null || update.instance === undefined)
          return "the first message must declare the instance";
        const { service, namespace } = identity;
        const instance = readDeclaration(update.instance, status, { service, namespace, address });
        if (typeof instance === "string") return instance;
        const ports = [instance.meshPort ?? 0, instance.port];
        const refusal = ports
          .map((port) => refuse(instance.address, port))
          .find((reason) => reason !== undefined);
        if (refusal !== undefined) return refusal;
        instanceId = instance.id;
        return catalog.add({ service, namespace }, instance, () => {
          registration = undefined;
          finish(
            grpcStatus.ABORTED,
            `instance ${instanceId} of ${service}.${namespace} registered on another stream: give each sidecar its own instance id`,
          );
        });
      };

      call.on("data", (update: InstanceUpdate) => {
        if (isOver) return;
        const status = parseStatus(update.status);
        if (status === undefined)
          return finish(
            grpcStatus.INVALID_ARGUMENT,
            `status ${JSON.stringify(update.status.slice(0, 50))}: use passing, warning, critical or maintenance`,
          );
        if (registration === undefined) {
          const added = declare(update, status);
          if (typeof added === "string") return finish(grpcStatus.INVALID_ARGUMENT, added);
          if (added === undefined)
            return finish(
              grpcStatus.RESOURCE_EXHAUSTED,
              "the embedded registry is full: use Consul (--consul)",
            );
          registration = added;
          declared.cancel();
        } else registration.setStatus(status);
        // Acks are a few bytes for each message the peer sent; a peer that does not read them is cut off by keepalive
        // and by the session's memory limit.
        call.write({ instanceId, status });
      });
      call.on("end", () => finish(grpcStatus.OK, ""));
      call.on("cancelled", () => finish(grpcStatus.CANCELLED, "cancelled"));
      call.on("error", () => finish(grpcStatus.CANCELLED, "stream failed"));
    },
  };
}

function refuseAll(call: RegisterStream): void {
  const details = "the registry is Consul: register there, or start the sidecar with --no-register";
  call.emit("error", { code: grpcStatus.FAILED_PRECONDITION, details });
}
