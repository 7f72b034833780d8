import type { MethodDefinition } from "@grpc/grpc-js";
import { remoraService } from "./remora-service.js";

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

/** The gRPC service definition, for both ends. */
export const jwtSvidService = remoraService<{
  readonly Issue: MethodDefinition<IssueJwtRequest, IssueJwtResponse>;
}>("JwtSvids", {
  IssueJwtRequest: { fields: { audience: { rule: "repeated", type: "string", id: 1 } } },
  IssueJwtResponse: {
    fields: { token: { type: "string", id: 1 }, lifeSeconds: { type: "uint32", id: 2 } },
  },
  JwtSvids: {
    methods: { Issue: { requestType: "IssueJwtRequest", responseType: "IssueJwtResponse" } },
  },
});
