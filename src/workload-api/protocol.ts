import type { MethodDefinition } from "@grpc/grpc-js";
import { fromJSON } from "@grpc/proto-loader";

/**
 * The SPIFFE Workload API's messages and service. Names of service and methods and numbers of fields are those of the
 * SPIFFE standard: every SPIFFE library speaks them. The service stands in no package.
 */
export interface X509SvidResponse {
  readonly svids: readonly X509SvidMessage[];
  readonly crl: readonly Buffer[];
  /** DER roots, one after the other, by `spiffe://<trust domain>`. */
  readonly federatedBundles: Readonly<Record<string, Buffer>>;
}

export interface X509SvidMessage {
  readonly spiffeId: string;
  /** DER, leaf first. */
  readonly x509Svid: Buffer;
  /** PKCS#8 DER, unencrypted. */
  readonly x509SvidKey: Buffer;
  readonly bundle: Buffer;
  readonly hint: string;
}

export interface X509BundlesResponse {
  readonly crl: readonly Buffer[];
  readonly bundles: Readonly<Record<string, Buffer>>;
}

export interface JwtSvidRequest {
  readonly audience: readonly string[];
  /** "" = every identity that the caller may have: here always one. */
  readonly spiffeId: string;
}

export interface JwtSvidResponse {
  readonly svids: readonly { readonly spiffeId: string; readonly svid: string; readonly hint: string }[];
}

export interface JwtBundlesResponse {
  /** JWK sets in JSON, by `spiffe://<trust domain>`. */
  readonly bundles: Readonly<Record<string, Buffer>>;
}

export interface ValidateJwtSvidRequest {
  readonly audience: string;
  readonly svid: string;
}

export interface ValidateJwtSvidResponse {
  readonly spiffeId: string;
  /** google.protobuf.Struct */
  readonly claims: object;
}

type Empty = Readonly<Record<string, never>>;

const text = (id: number) => ({ type: "string", id });
const bytes = (id: number) => ({ type: "bytes", id });
const bytesByName = (id: number) => ({ keyType: "string", type: "bytes", id });
const list = (type: string, id: number) => ({ rule: "repeated", type, id });
const streamed = (requestType: string, responseType: string) => ({
  ...{ requestType, responseType },
  responseStream: true,
});

/** protobufjs' JSON form. */
const descriptor = {
  nested: {
    X509SVIDRequest: { fields: {} },
    X509SVIDResponse: {
      fields: { svids: list("X509SVID", 1), crl: list("bytes", 2), federatedBundles: bytesByName(3) },
    },
    X509SVID: {
      fields: {
        spiffeId: text(1),
        x509Svid: bytes(2),
        x509SvidKey: bytes(3),
        bundle: bytes(4),
        hint: text(5),
      },
    },
    X509BundlesRequest: { fields: {} },
    X509BundlesResponse: { fields: { crl: list("bytes", 1), bundles: bytesByName(2) } },
    JWTSVIDRequest: { fields: { audience: list("string", 1), spiffeId: text(2) } },
    JWTSVIDResponse: { fields: { svids: list("JWTSVID", 1) } },
    JWTSVID: { fields: { spiffeId: text(1), svid: text(2), hint: text(3) } },
    JWTBundlesRequest: { fields: {} },
    JWTBundlesResponse: { fields: { bundles: bytesByName(1) } },
    ValidateJWTSVIDRequest: { fields: { audience: text(1), svid: text(2) } },
    ValidateJWTSVIDResponse: {
      fields: { spiffeId: text(1), claims: { type: "google.protobuf.Struct", id: 2 } },
    },
    SpiffeWorkloadAPI: {
      methods: {
        FetchX509SVID: streamed("X509SVIDRequest", "X509SVIDResponse"),
        FetchX509Bundles: streamed("X509BundlesRequest", "X509BundlesResponse"),
        FetchJWTSVID: { requestType: "JWTSVIDRequest", responseType: "JWTSVIDResponse" },
        FetchJWTBundles: streamed("JWTBundlesRequest", "JWTBundlesResponse"),
        ValidateJWTSVID: { requestType: "ValidateJWTSVIDRequest", responseType: "ValidateJWTSVIDResponse" },
      },
    },
    google: {
      nested: {
        protobuf: {
          nested: {
            Struct: { fields: { fields: { keyType: "string", type: "Value", id: 1 } } },
            Value: {
              oneofs: {
                kind: {
                  oneof: ["nullValue", "numberValue", "stringValue", "boolValue", "structValue", "listValue"],
                },
              },
              fields: {
                nullValue: { type: "NullValue", id: 1 },
                numberValue: { type: "double", id: 2 },
                stringValue: text(3),
                boolValue: { type: "bool", id: 4 },
                structValue: { type: "Struct", id: 5 },
                listValue: { type: "ListValue", id: 6 },
              },
            },
            ListValue: { fields: { values: list("Value", 1) } },
            NullValue: { values: { NULL_VALUE: 0 } },
          },
        },
      },
    },
  },
};

/** The gRPC service definition, for both ends. */
export const workloadService = fromJSON(descriptor as unknown as Parameters<typeof fromJSON>[0], {
  defaults: true,
})["SpiffeWorkloadAPI"] as unknown as {
  readonly FetchX509SVID: MethodDefinition<Empty, X509SvidResponse>;
  readonly FetchX509Bundles: MethodDefinition<Empty, X509BundlesResponse>;
  readonly FetchJWTSVID: MethodDefinition<JwtSvidRequest, JwtSvidResponse>;
  readonly FetchJWTBundles: MethodDefinition<Empty, JwtBundlesResponse>;
  readonly ValidateJWTSVID: MethodDefinition<ValidateJwtSvidRequest, ValidateJwtSvidResponse>;
};

/** Every request must carry it (Workload Endpoint §3): a request that a browser or a fooled server makes cannot. */
export const securityHeader = { name: "workload.spiffe.io", value: "true" } as const;
