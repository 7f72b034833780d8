import type { MethodDefinition } from "@grpc/grpc-js";
import { fromJSON } from "@grpc/proto-loader";

/**
 * `remora.v1.Registration`: one stream per instance is its registration in the embedded registry. The first message
 * declares the instance, later ones change its status, and the end of the stream takes it out. Field numbers are a
 * promise to sidecars of other versions.
 */
export interface InstanceUpdate {
  /** Only in the first message. */
  readonly instance: InstanceDeclaration | null;
  /** passing | warning | critical | maintenance */
  readonly status: string;
}

export interface InstanceDeclaration {
  /** Unique in its service and stable over restarts; bound to the identity of the stream. */
  readonly id: string;
  /** `<service>` and its namespace: must be what the client certificate says. */
  readonly service: string;
  readonly namespace: string;
  /** IP literal that other sidecars reach this one at. */
  readonly address: string;
  /** Inbound mTLS port of the sidecar. */
  readonly meshPort: number;
  /** The application's own port. */
  readonly appPort: number;
  /** http | http2 | grpc | tcp */
  readonly protocol: string;
  readonly weight: number;
  readonly zone: string;
  readonly meta: readonly MetaEntry[];
}

/** Not a proto map: its decoder makes a plain object, where the key `__proto__` is special. */
export interface MetaEntry {
  readonly name: string;
  readonly value: string;
}

/** Sent once per update, after the registry shows it. */
export interface RegistrationAck {
  readonly instanceId: string;
  readonly status: string;
}

/** protobufjs' JSON form. */
const descriptor = {
  nested: {
    remora: {
      nested: {
        v1: {
          nested: {
            MetaEntry: { fields: { name: { type: "string", id: 1 }, value: { type: "string", id: 2 } } },
            InstanceDeclaration: {
              fields: {
                id: { type: "string", id: 1 },
                service: { type: "string", id: 2 },
                namespace: { type: "string", id: 3 },
                address: { type: "string", id: 4 },
                meshPort: { type: "uint32", id: 5 },
                appPort: { type: "uint32", id: 6 },
                protocol: { type: "string", id: 7 },
                weight: { type: "uint32", id: 8 },
                zone: { type: "string", id: 9 },
                meta: { rule: "repeated", type: "MetaEntry", id: 10 },
              },
            },
            InstanceUpdate: {
              fields: {
                instance: { type: "InstanceDeclaration", id: 1 },
                status: { type: "string", id: 2 },
              },
            },
            RegistrationAck: {
              fields: { instanceId: { type: "string", id: 1 }, status: { type: "string", id: 2 } },
            },
            Registration: {
              methods: {
                Register: {
                  requestType: "InstanceUpdate",
                  requestStream: true,
                  responseType: "RegistrationAck",
                  responseStream: true,
                },
              },
            },
          },
        },
      },
    },
  },
};

/** The gRPC service definition, for both ends. */
export const registrationService = fromJSON(descriptor as unknown as Parameters<typeof fromJSON>[0], {
  defaults: true,
  arrays: true,
})["remora.v1.Registration"] as unknown as {
  readonly Register: MethodDefinition<InstanceUpdate, RegistrationAck>;
};
