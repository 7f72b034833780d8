import type { MethodDefinition } from "@grpc/grpc-js";
import { remoraService } from "./remora-service.js";

/**
 * `remora.v1.Enrollment`: a join token or the current certificate in, a new certificate out. Field numbers are a promise
 * to sidecars of other versions. The names in the request's CSR are never used: the identity is that of the token or of
 * the client certificate.
 */
export interface IssueRequest {
  /** PKCS#10, PEM: only its public key counts. */
  readonly csrPem: string;
  /** Join token; "" with any other proof: when the connection's client certificate is renewed, or with consulToken. */
  readonly token: string;
  /** ACL token of Consul; what it may write decides whether its bearer is `service`. */
  readonly consulToken?: string;
  /** Whom the bearer of consulToken wants to be; without it the proof itself says so. */
  readonly service?: string;
  readonly namespace?: string;
}

export interface IssueResponse {
  /** Leaf first. */
  readonly certChainPem: string;
  /** Root certificates of the trust domain. */
  readonly bundlePem: string;
}

/** Path segment of the SPIFFE id that the control plane's own certificate carries. */
export const controlPlaneName = { namespace: "remora", service: "control-plane" } as const;

/** In the metadata of a refusal: the kind of key (certs/keys.ts) with which the caller may ask again. */
export const keyTypeField = "remora-key-type";

/** The service that the control plane is to Consul's CA: its token needs service:write for it. */
export const consulControlPlaneName = "remora-control-plane";

/** The gRPC service definition, for both ends. */
export const enrollmentService = remoraService<{
  readonly Issue: MethodDefinition<IssueRequest, IssueResponse>;
}>("Enrollment", {
  IssueRequest: {
    fields: {
      csrPem: { type: "string", id: 1 },
      token: { type: "string", id: 2 },
      consulToken: { type: "string", id: 3 },
      service: { type: "string", id: 4 },
      namespace: { type: "string", id: 5 },
    },
  },
  IssueResponse: {
    fields: { certChainPem: { type: "string", id: 1 }, bundlePem: { type: "string", id: 2 } },
  },
  Enrollment: {
    methods: { Issue: { requestType: "IssueRequest", responseType: "IssueResponse" } },
  },
});
