import type { MethodDefinition } from "@grpc/grpc-js";
import { fromJSON } from "@grpc/proto-loader";

/**
 * `remora.v1.JwtSvids`: a JWT-SVID for the identity of the connection's client certificate, whatever the request says.
 * Field numbers are a promise to sidecars of other versions.
 */
export interface IssueJwtRequest {
  /** Whom the token is for: at least one. */
  readonly audience: readonly string[];
}

export interface IssueJwtResponse {
  /** JWS in compact serialization. */
  readonly token: string;
  /** From its issue to its end. */
  readonly lifeSeconds: number;
}

/** protobufjs' JSON form. */
const descriptor = {
  nested: {
    remora: {
      nested: {
        v1: {
          nested: {
            IssueJwtRequest: { fields: { audience: { rule: "repeated", type: "string", id: 1 } } },
            IssueJwtResponse: {
              fields: { token: { type: "string", id: 1 }, lifeSeconds: { type: "uint32", id: 2 } },
            },
            JwtSvids: {
              methods: { Issue: { requestType: "IssueJwtRequest", responseType: "IssueJwtResponse" } },
            },
          },
        },
      },
    },
  },
};

/** The gRPC service definition, for both ends. */
export const jwtSvidService = fromJSON(descriptor as unknown as Parameters<typeof fromJSON>[0], {
  defaults: true,
})["remora.v1.JwtSvids"] as unknown as {
  readonly Issue: MethodDefinition<IssueJwtRequest, IssueJwtResponse>;
};
