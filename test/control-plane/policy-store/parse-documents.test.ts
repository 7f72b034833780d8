import fc from "fast-check";
import t from "tap";
import { stringify } from "yaml";
import { z } from "zod";
import { documentSchemas, kinds, parseKind } from "../../../src/config/documents/document.js";
import { routeSections } from "../../../src/config/documents/traffic-policy.js";
import { editDistance, nearestWord } from "../../../src/config/did-you-mean.js";
import { DocumentError } from "../../../control-plane/policy-store/document-error.js";
import { parseDocuments } from "../../../control-plane/policy-store/parse-documents.js";
import { anyDocument } from "../../support/any-document.js";

function errorOf(text: string): string {
  try {
    parseDocuments(text, "f.yaml");
  } catch (error: unknown) {
    return error instanceof Error ? `${error.name} ${error.message}` : String(error);
  }
  return "accepted";
}

/** A route with one rule, indented by the caller. */
const route = (rule: string): string =>
  `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: api}]
  rules:
  - ${rule}
`;
const policy = (field: string): string =>
  `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: p}
spec:
  targetRefs: [{kind: Service, name: api}]
  ${field}
`;
const targets = (refs: string, field = ""): string =>
  policy(field).replace("{kind: Service, name: api}", refs);
const filter = (text: string): string => route(`filters: [${text}]`);

const call = (rule: string): string => route(rule).replace("HTTPRoute", "GRPCRoute");

const mistakes: readonly (readonly [text: string, error: string])[] = [
  [
    targets("{kind: Gateway, name: x}"),
    'f.yaml:5:23: spec.targetRefs.0.kind: "Gateway" is not supported by this version of Remora (it has Service, HTTPRoute, GRPCRoute)',
  ],
  [
    targets("{kind: HTTPRoute, name: r, group: ''}"),
    'f.yaml:5:50: spec.targetRefs.0.group: must be "gateway.networking.k8s.io", the group of HTTPRoute',
  ],
  [
    targets("{kind: Service, name: a.b}"),
    'f.yaml:5:38: spec.targetRefs.0.name: "a.b" is not valid: a service name is up to 63 of a-z, 0-9, - and _, with a letter or digit at its beginning',
  ],
  [
    targets("{kind: HTTPRoute, name: a_b}"),
    'f.yaml:5:40: spec.targetRefs.0.name: "a_b" is not valid: a name is up to 253 of a-z, 0-9, - and ., with a letter or digit at both ends',
  ],
  [
    targets("{kind: Service, name: a, sectionName: b}"),
    "f.yaml:5:54: spec.targetRefs.0.sectionName: is only for kind: HTTPRoute and GRPCRoute; a service has one port",
  ],
  [
    targets("{kind: GRPCRoute, name: r, sectionName: x}, {kind: GRPCRoute, name: r, sectionName: x}"),
    "f.yaml:5:84: spec.targetRefs.1.name: target GRPCRoute/default/r rule x is named twice",
  ],
  [
    targets("{kind: Service, name: a}, {kind: HTTPRoute, name: r}", "mtls: {mode: STRICT}"),
    `f.yaml:6:9: spec.mtls: is only for kind: Service; a policy of a HTTPRoute has ${routeSections.join(", ")}`,
  ],
  [route("matchs: []"), 'f.yaml:7:5: spec.rules.0: unknown field "matchs"; did you mean "matches"?'],
  [
    route("matches: [{path: {type: Prefix, value: /}}]"),
    'f.yaml:7:29: spec.rules.0.matches.0.path.type: unknown value "Prefix", expected one of Exact, PathPrefix, RegularExpression; did you mean "PathPrefix"?',
  ],
  [
    route("timeout: {request: 1s}"),
    'f.yaml:7:5: spec.rules.0: unknown field "timeout"; did you mean "timeouts"?',
  ],
  [
    route("sessionPersistence: {}"),
    'f.yaml:7:5: spec.rules.0: "sessionPersistence" is not supported by this version of Remora',
  ],
  [
    route("backendRefs: [{weight: 1}]"),
    'f.yaml:7:19: spec.rules.0.backendRefs.0: required field "name" is missing',
  ],
  [
    route("backendRefs: [{name: api, wieght: 5, port: 80}]"),
    'f.yaml:7:31: spec.rules.0.backendRefs.0: unknown field "wieght"; did you mean "weight"?',
  ],
  [
    route("backendRefs: [{name: api, weight: -1}]"),
    "f.yaml:7:39: spec.rules.0.backendRefs.0.weight: must be at least 0",
  ],
  [
    route("backendRefs: [{name: a, weight: 0}, {name: b, weight: 0}]"),
    "f.yaml:7:18: spec.rules.0.backendRefs: every weight is 0, so nobody would get the requests: give one backend a weight, or leave backendRefs out to answer with an error",
  ],
  [
    call("backendRefs: [{name: a, weight: 0}]"),
    "f.yaml:7:18: spec.rules.0.backendRefs: every weight is 0, so nobody would get the requests: give one backend a weight, or leave backendRefs out to answer with an error",
  ],
  [
    route("backendRefs: [{name: api, port: 70000}]"),
    "f.yaml:7:37: spec.rules.0.backendRefs.0.port: must be at most 65535",
  ],
  [
    route("backendRefs: [{name: Api}]"),
    'f.yaml:7:26: spec.rules.0.backendRefs.0.name: "Api" is not valid: a service name is up to 63 of a-z, 0-9, - and _, with a letter or digit at its beginning',
  ],
  [
    route("backendRefs: [{name: api, kind: Pod}]"),
    'f.yaml:7:37: spec.rules.0.backendRefs.0.kind: unknown value "Pod", expected one of Service',
  ],
  [
    route("timeouts: {request: 1 s}"),
    'f.yaml:7:25: spec.rules.0.timeouts.request: "1 s" is not a duration: write one to four parts of a number and h, m, s or ms, like 1m30s or 250ms',
  ],
  [
    route("timeouts: {request: 1s, backendRequest: 1500ms}"),
    "f.yaml:7:45: spec.rules.0.timeouts.backendRequest: 1500ms is longer than request (1s), which caps all attempts together",
  ],
  [
    route("timeouts: {request: 10}"),
    "f.yaml:7:25: spec.rules.0.timeouts.request: 10 has no unit: write it like 10s or 10ms",
  ],
  [route("retry: {attempts: 0}"), "f.yaml:7:23: spec.rules.0.retry.attempts: must be at least 1"],
  [route("retry: {codes: [200]}"), "f.yaml:7:21: spec.rules.0.retry.codes.0: must be at least 400"],
  [route("retry: {codes: [503, 600]}"), "f.yaml:7:26: spec.rules.0.retry.codes.1: must be at most 599"],
  [
    route("matches: [{path: {type: RegularExpression, value: '/a('}}]"),
    'f.yaml:7:55: spec.rules.0.matches.0.path.value: regular expression "/a(" is not valid RE2 syntax: error parsing regexp: missing closing ): `/a(` (RE2 has no lookaround and no back-references)',
  ],
  [
    route("matches: [{headers: [{type: RegularExpression, name: x, value: '(?=a)'}]}]"),
    'f.yaml:7:68: spec.rules.0.matches.0.headers.0.value: regular expression "(?=a)" is not valid RE2 syntax: error parsing regexp: invalid or unsupported Perl syntax: `(?=` (RE2 has no lookaround and no back-references)',
  ],
  [
    route("matches: [{path: {value: v2}}]"),
    'f.yaml:7:30: spec.rules.0.matches.0.path.value: "v2" must begin with /',
  ],
  [
    route("matches: [{path: {value: /a/../b}}]"),
    'f.yaml:7:30: spec.rules.0.matches.0.path.value: "/a/../b" must not contain //, /./, /../, %2f, # or ?: no request path does',
  ],
  [
    route("matches: [{method: get}]"),
    'f.yaml:7:24: spec.rules.0.matches.0.method: unknown value "get", expected one of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH; did you mean "GET"?',
  ],
  [
    route("matches: [{headers: [{name: 'x y', value: a}]}]"),
    'f.yaml:7:33: spec.rules.0.matches.0.headers.0.name: "x y" is not valid: a header name is a token (RFC 9110 §5.6.2)',
  ],
  [
    route("matches: [{headers: [{name: x, value: 2}]}]"),
    'f.yaml:7:43: spec.rules.0.matches.0.headers.0.value: expected a text, found the number 2: write it in quotes, "2"',
  ],
  [
    route("matches: [{headers: [{name: X-A, value: a}, {name: x-a, value: b}]}]"),
    "f.yaml:7:56: spec.rules.0.matches.0.headers.1.name: header x-a is named twice",
  ],
  [
    filter("{type: CORS, cors: {}}"),
    'f.yaml:7:22: spec.rules.0.filters.0.type: "CORS" is not supported by this version of Remora (it has RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite, RequestMirror)\nf.yaml:7:28: spec.rules.0.filters.0: "cors" is not supported by this version of Remora',
  ],
  [
    filter("{type: RequestMirror}"),
    'f.yaml:7:15: spec.rules.0.filters.0: type RequestMirror needs the field "requestMirror"',
  ],
  [
    filter(
      "{type: RequestMirror, requestMirror: {backendRef: {name: b}, percent: 1, fraction: {numerator: 1}}}",
    ),
    "f.yaml:7:98: spec.rules.0.filters.0.requestMirror.fraction: a mirror has percent or fraction, not both",
  ],
  [
    filter("{type: RequestMirror, requestMirror: {backendRef: {name: b}, fraction: {numerator: 101}}}"),
    "f.yaml:7:98: spec.rules.0.filters.0.requestMirror.fraction.numerator: is more than the denominator, 100",
  ],
  [
    filter("{type: URLRewrite}"),
    'f.yaml:7:15: spec.rules.0.filters.0: type URLRewrite needs the field "urlRewrite"',
  ],
  [
    filter("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}"),
    'f.yaml:7:53: spec.rules.0.filters.0.urlRewrite.path: type ReplaceFullPath needs the field "replaceFullPath"',
  ],
  [
    filter('{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x, value: "a\\r\\nb: c"}]}}'),
    "f.yaml:7:92: spec.rules.0.filters.0.requestHeaderModifier.set.0.value: must not contain line breaks or other control characters: they would split the header",
  ],
  [
    filter("{type: RequestHeaderModifier, requestHeaderModifier: {remove: [Transfer-Encoding]}}"),
    "f.yaml:7:78: spec.rules.0.filters.0.requestHeaderModifier.remove.0: transfer-encoding belongs to the connection",
  ],
  [
    filter("{type: RequestRedirect, requestRedirect: {statusCode: 200}}"),
    "f.yaml:7:69: spec.rules.0.filters.0.requestRedirect.statusCode: must be 301, 302, 303, 307 or 308",
  ],
  [
    filter("{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}"),
    "f.yaml:7:68: spec.rules.0.filters.1.type: a rule has RequestRedirect or URLRewrite, not both",
  ],
  [
    route("{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: api}]}"),
    "f.yaml:7:76: spec.rules.0.backendRefs: a rule with RequestRedirect has no backendRefs: it answers itself",
  ],
  [
    route("backendRefs: [{name: api, filters: [{type: URLRewrite, urlRewrite: {}}]}]"),
    'f.yaml:7:48: spec.rules.0.backendRefs.0.filters.0.type: "URLRewrite" is not supported by this version of Remora (it has RequestHeaderModifier, ResponseHeaderModifier)\nf.yaml:7:60: spec.rules.0.backendRefs.0.filters.0: "urlRewrite" is not supported by this version of Remora; a rewrite stands in the rule\'s own filters',
  ],
  [
    policy("loadBalancer: {policy: ROUND_ROBIN}"),
    'f.yaml:6:26: spec.loadBalancer.policy: unknown value "ROUND_ROBIN", expected one of peak_ewma, least_request, round_robin, random, ring_hash, maglev; did you mean "round_robin"?',
  ],
  [
    policy("outlierDetection: {maxEjectionPercent: 150}"),
    "f.yaml:6:42: spec.outlierDetection.maxEjectionPercent: must be at most 100",
  ],
  [
    policy("outlierDetection: {maxEjectionPercent: 100}"),
    "f.yaml:6:42: spec.outlierDetection.maxEjectionPercent: 100 would eject the last endpoint, and requests would have nowhere to go: write less than 100 (of any number at least one then stays), or give a failover",
  ],
  [
    policy("outlierDetection: {slowCalls: {ratio: 0}}"),
    'f.yaml:6:33: spec.outlierDetection.slowCalls: required field "threshold" is missing\nf.yaml:6:41: spec.outlierDetection.slowCalls.ratio: must be above 0; leave slowCalls out to have time not count',
  ],
  [
    policy("circuitBreaker: {failureRatio: 0}"),
    "f.yaml:6:34: spec.circuitBreaker.failureRatio: 0 lets failures not count, and without slowCalls nothing could open it: leave circuitBreaker out",
  ],
  [
    policy("circuitBreaker: {openFor: 2m, maxOpenFor: 1m}"),
    "f.yaml:6:29: spec.circuitBreaker.openFor: 2m is longer than maxOpenFor (1m)",
  ],
  [
    policy("circuitBreaker: {failureRate: 0.5, halfOpenRequests: 0}"),
    'f.yaml:6:20: spec.circuitBreaker: unknown field "failureRate"; did you mean "failureRatio"?\nf.yaml:6:56: spec.circuitBreaker.halfOpenRequests: must be at least 1',
  ],
  [
    policy("outlierDetection: {baseEjectionTime: 5m, maxEjectionTime: 1m}"),
    "f.yaml:6:40: spec.outlierDetection.baseEjectionTime: 5m is longer than maxEjectionTime (1m)",
  ],
  [
    policy("outlierDetection: {successRate: {minimumRatio: 80}}"),
    "f.yaml:6:50: spec.outlierDetection.successRate.minimumRatio: must be at most 1",
  ],
  [
    policy("priority: urgent"),
    'f.yaml:6:13: spec.priority: unknown value "urgent", expected one of critical, default, batch',
  ],
  [
    policy("priority: {heder: x-priority}"),
    'f.yaml:6:13: spec.priority: required field "header" is missing\nf.yaml:6:14: spec.priority: unknown field "heder"; did you mean "header"?',
  ],
  [policy("priority: 1"), "f.yaml:6:13: spec.priority: expected a text or a map, found the number 1"],
  [
    targets("{kind: HTTPRoute, name: r}", "bulkheads: {batch: {maxRequests: 5}}"),
    `f.yaml:6:14: spec.bulkheads: is only for kind: Service; a policy of a HTTPRoute has ${routeSections.join(", ")}`,
  ],
  [
    policy("bulkheads: {batch: {maxPending: 5}}"),
    "f.yaml:6:35: spec.bulkheads.batch.maxPending: needs maxWait: without it nobody waits",
  ],
  [
    policy("bulkheads: {batch: {maxPending: 5, maxWait: 0s}}"),
    "f.yaml:6:35: spec.bulkheads.batch.maxPending: needs maxWait: without it nobody waits",
  ],
  [
    policy(
      "bulkheads: {critical: {maxRequests: 60}, batch: {maxRequests: 50}}\n  connectionPool: {maxRequests: 100}",
    ),
    "f.yaml:6:65: spec.bulkheads.batch.maxRequests: the classes have 110 together, more than connectionPool.maxRequests (100)",
  ],
  [
    policy("bulkheads: {critical: {maxRequests: 1000}, batch: {maxRequests: 24}}"),
    "f.yaml:6:67: spec.bulkheads.batch.maxRequests: leaves nothing of connectionPool.maxRequests (1024) for default",
  ],
  [
    policy("loadShedding: {shares: {batch: 50}}"),
    "f.yaml:6:17: spec.loadShedding: needs a limit: maxRequests, or adaptiveConcurrency beside it",
  ],
  [
    policy("loadShedding: {maxRequests: 9, shares: {default: 50, batch: 60}}"),
    "f.yaml:6:63: spec.loadShedding.shares.batch: 60 is more than default (50)",
  ],
  [
    policy("adaptiveConcurrency: {minLimit: 9, maxLimit: 8, tolerance: 1}"),
    "f.yaml:6:62: spec.adaptiveConcurrency.tolerance: must be at least 1.1",
  ],
  [
    policy("adaptiveConcurrency: {minLimit: 9, maxLimit: 8}\n  loadShedding: {maxRequests: 5}"),
    "f.yaml:6:35: spec.adaptiveConcurrency.minLimit: 9 is more than maxLimit (8)\nf.yaml:7:31: spec.loadShedding.maxRequests: contradicts adaptiveConcurrency, which finds the limit itself; its bound is adaptiveConcurrency.maxLimit",
  ],
  [policy("rateLimit: {requests: 100}"), 'f.yaml:6:14: spec.rateLimit: required field "per" is missing'],
  [
    policy("rateLimit: [{requests: 100, per: 1s, brust: 5}]"),
    'f.yaml:6:40: spec.rateLimit.0: unknown field "brust"; did you mean "burst"?',
  ],
  [
    policy("rateLimit: {requests: 1, per: 1s, response: {status: 503}}"),
    "f.yaml:6:56: spec.rateLimit.response.status: must be within 400-499: callers' sidecars take 5xx for failures of the instance",
  ],
  [policy("rateLimit: 5"), "f.yaml:6:14: spec.rateLimit: expected a map or a list, found the number 5"],
  [policy("rateLimit: []"), "f.yaml:6:14: spec.rateLimit: must hold at least one limit"],
  [
    policy("rateLimit: {requests: 1, per: 1s, onUnavailable: open}"),
    "f.yaml:6:52: spec.rateLimit.onUnavailable: is only for scope: global; a local limit asks nobody",
  ],
  [
    policy("rateLimit: {requests: 0, per: 0s}"),
    "f.yaml:6:25: spec.rateLimit.requests: must be at least 1\nf.yaml:6:33: spec.rateLimit.per: must be longer than 0s",
  ],
  [
    policy("rateLimit: {requests: 1, per: 1s, key: [{}]}"),
    "f.yaml:6:43: spec.rateLimit.key.0: needs exactly one of header and sourceIdentity",
  ],
  [
    policy("rateLimit: [{requests: 1, per: 1s, key: [{header: A}, {header: a}]}]"),
    "f.yaml:6:57: spec.rateLimit.0.key.1: key a is named twice",
  ],
  [
    policy("rateLimit: {requests: 1, per: 1s, key: [{sourceIdentity: false}]}"),
    "f.yaml:6:60: spec.rateLimit.key.0.sourceIdentity: must be true; leave it out otherwise",
  ],
  [
    policy("idempotency: {methods: [GET]}"),
    'f.yaml:6:27: spec.idempotency.methods.0: unknown value "GET", expected one of POST, PATCH, PUT, DELETE',
  ],
  [
    policy("idempotency: {methods: [POST, POST]}"),
    "f.yaml:6:33: spec.idempotency.methods.1: method POST is named twice",
  ],
  [policy("idempotency: {ttl: 0s}"), "f.yaml:6:22: spec.idempotency.ttl: must be longer than 0s"],
  [
    policy("idempotency: {maxBodyBytes: 2MiB, maxRequestBytes: 17MiB, maxStoreBytes: 2KiB}"),
    "f.yaml:6:31: spec.idempotency.maxBodyBytes: must be at most 1MiB\nf.yaml:6:54: spec.idempotency.maxRequestBytes: must be at most 16MiB\nf.yaml:6:76: spec.idempotency.maxStoreBytes: must be within 1MiB and 1024MiB",
  ],
  [
    policy("idempotency: {onUnavailable: closed}"),
    "f.yaml:6:32: spec.idempotency.onUnavailable: is only for store: redis; memory is always there",
  ],
  [
    policy("idempotency: {maxBodyBytes: 1MiB, maxStoreBytes: 1MiB}"),
    "f.yaml:6:52: spec.idempotency.maxStoreBytes: must have room for two responses of maxBodyBytes",
  ],
  [
    policy("protocol: grpc\n  idempotency: {}"),
    "f.yaml:7:16: spec.idempotency: means nothing for protocol: grpc: only HTTP requests have an Idempotency-Key",
  ],
  [
    targets("{kind: GRPCRoute, name: r}", "idempotency: {}"),
    "f.yaml:6:16: spec.idempotency: means nothing for a GRPCRoute: only HTTP requests have an Idempotency-Key",
  ],
  [
    policy("connectionPool: {connectTimeout: 0s}"),
    "f.yaml:6:36: spec.connectionPool.connectTimeout: must be longer than 0s",
  ],
  [
    policy("connectionPool: {maxConnection: 5}"),
    'f.yaml:6:20: spec.connectionPool: unknown field "maxConnection"; did you mean "maxConnections"?',
  ],
  [
    policy("mtls: {mode: strict}"),
    'f.yaml:6:16: spec.mtls.mode: unknown value "strict", expected one of STRICT, PERMISSIVE, DISABLE; did you mean "STRICT"?',
  ],
  [
    policy("mtls: {mode: DISABLE, peerIdentity: ['spiffe://m/a']}"),
    "f.yaml:6:39: spec.mtls.peerIdentity: means nothing with mode DISABLE: in plaintext nobody proves an identity",
  ],
  ...[
    "spiffe://mesh.local",
    "spiffe://mesh.local/",
    "spiffe://mesh.local/a//b",
    "spiffe://mesh.local/a/../b",
    "spiffe://mesh.local/a?b",
    "spiffe://mesh.local/a%2fb",
    "spiffe://MESH.local/a",
    "spiffe://mesh.local:8443/a",
    "spiffe:///a",
    "SPIFFE://mesh.local/a",
    "mesh.local/a",
    "*",
    "",
  ].map((id): [string, string] => [
    policy(`mtls: {mode: STRICT, peerIdentity: ["spiffe://m/a", "${id}"]}`),
    `f.yaml:6:55: spec.mtls.peerIdentity.1: "${id}" is not valid: the whole SPIFFE id of a workload, like spiffe://mesh.local/ns/default/svc/reviews`,
  ]),
  [policy("mtls: {}"), 'f.yaml:6:9: spec.mtls: required field "mode" is missing'],
  [
    policy("fault: {delay: {fixed: 1s}}"),
    'f.yaml:6:10: spec.fault: required field "expires" is missing: a fault must end by itself, within 7 days',
  ],
  [
    policy("fault: {delay: {fixed: 1s}, expires: tomorrow}"),
    'f.yaml:6:40: spec.fault.expires: "tomorrow" is not a time like 2026-01-31T12:00:00Z',
  ],
  [
    policy("fault: {expires: 2026-01-31T12:00:00Z}"),
    'f.yaml:6:10: spec.fault: needs the field "delay", "abort", or both',
  ],
  [
    policy("fault: {abort: {percent: 1}, expires: 2026-01-31T12:00:00Z}"),
    'f.yaml:6:18: spec.fault.abort: needs the field "status", for gRPC calls "grpcStatus", or both',
  ],
  [
    policy("fault: {delay: {fixed: 6m}, expires: 2026-01-31T12:00:00Z}"),
    "f.yaml:6:26: spec.fault.delay.fixed: 6m is over the limit of 5m",
  ],
  [
    policy("hedge: {after: 10ms}"),
    'f.yaml:6:11: spec.hedge: unknown field "after", expected one of delay, percentile, minDelay, maxAttempts, budgetPercent',
  ],
  [
    policy("bulkheads: {important: {maxRequests: 4}}"),
    'f.yaml:6:15: spec.bulkheads: unknown field "important", expected one of critical, default, batch',
  ],
  [policy("openFor: 5s"), 'f.yaml:6:3: spec: unknown field "openFor"'],
  [policy("hedge: {}"), 'f.yaml:6:10: spec.hedge: needs the field "delay" or "percentile"'],
  [
    policy("hedge: {delay: 1s, percentile: 95}"),
    "f.yaml:6:34: spec.hedge.percentile: a hedge has delay or percentile, not both",
  ],
  [policy("hedge: {delay: 1s, maxAttempts: 4}"), "f.yaml:6:35: spec.hedge.maxAttempts: must be at most 3"],
  [
    policy("fallback: {service: {name: api}}"),
    "f.yaml:6:30: spec.fallback.service.name: api is the service that the policy holds for",
  ],
  [
    policy("fallback: {on: [5xx]}"),
    "f.yaml:6:13: spec.fallback: needs one of the fields reply, service, cached",
  ],
  [
    policy("fallback: {cached: {}, service: {name: b}}"),
    "f.yaml:6:22: spec.fallback.cached: a fallback has one of reply, service, cached; it has service",
  ],
  [
    policy("fallback: {on: [6xx], cached: {}}"),
    'f.yaml:6:19: spec.fallback.on.0: unknown value "6xx", expected one of open, timeout, 5xx, connect-failure, no-endpoint, rate-limited; did you mean "5xx"?',
  ],
  [
    policy("fallback: {reply: {}}"),
    'f.yaml:6:21: spec.fallback.reply: needs the field "status", for gRPC calls "grpcStatus", or both',
  ],
  [
    policy("fallback: {reply: {status: 204, body: x}}"),
    "f.yaml:6:41: spec.fallback.reply.body: an answer with status 204 has no body",
  ],
  [
    policy("fallback: {reply: {status: 200, headers: [{name: Content-Length, value: '1'}]}}"),
    "f.yaml:6:52: spec.fallback.reply.headers.0.name: content-length belongs to the connection",
  ],
  [
    policy("fallback: {reply: {status: 200, headers: [{name: x-remora-error, value: a}]}}"),
    "f.yaml:6:52: spec.fallback.reply.headers.0.name: x-remora-error is written by the mesh",
  ],
  [
    policy("fallback: {cached: {maxBytes: 999MiB}}"),
    "f.yaml:6:33: spec.fallback.cached.maxBytes: 999MiB is over the limit of 256MiB",
  ],
  [
    policy("retry: {bufferLimit: 64MiB}"),
    "f.yaml:6:24: spec.retry.bufferLimit: 64MiB is over the limit of 1MiB",
  ],
  [
    policy("retryBudget: {percent: twenty}"),
    'f.yaml:6:26: spec.retryBudget.percent: expected a number, found the string "twenty"',
  ],
  [policy("timeouts: [1s]"), "f.yaml:6:13: spec.timeouts: expected a map, found a list"],
  [
    "kind: TCPRoute",
    "f.yaml:1:7: kind: kind TCPRoute is not supported by this version of Remora (it has HTTPRoute, GRPCRoute, TrafficPolicy, AuthorizationPolicy, PeerAuthentication)",
  ],
  [
    "kind: HttpRoute",
    'f.yaml:1:7: kind: unknown kind "HttpRoute" (it has HTTPRoute, GRPCRoute, TrafficPolicy, AuthorizationPolicy, PeerAuthentication); did you mean "HTTPRoute"?',
  ],
  [
    "kind: TrafficPolcy",
    'f.yaml:1:7: kind: unknown kind "TrafficPolcy" (it has HTTPRoute, GRPCRoute, TrafficPolicy, AuthorizationPolicy, PeerAuthentication); did you mean "TrafficPolicy"?',
  ],
  [
    call("matches: [{method: {servce: a.B}}]"),
    'f.yaml:7:25: spec.rules.0.matches.0.method: unknown field "servce"; did you mean "service"?',
  ],
  [
    call("matches: [{method: {}}]"),
    'f.yaml:7:24: spec.rules.0.matches.0.method: needs the field "service" or "method"; leave method out to match every call',
  ],
  [
    call("matches: [{method: {service: a/B}}]"),
    'f.yaml:7:34: spec.rules.0.matches.0.method.service: "a/B" is not valid: a gRPC service is the full name from its .proto file, like shop.v1.Cart',
  ],
  [
    call("matches: [{method: {method: a.B}}]"),
    'f.yaml:7:33: spec.rules.0.matches.0.method.method: "a.B" is not valid: a gRPC method is one name from its .proto file, like AddItem',
  ],
  [
    call("matches: [{method: {type: RegularExpression, service: a, method: '(?=x)'}}]"),
    'f.yaml:7:70: spec.rules.0.matches.0.method.method: regular expression "(?=x)" is not valid RE2 syntax: error parsing regexp: invalid or unsupported Perl syntax: `(?=` (RE2 has no lookaround and no back-references)',
  ],
  [
    call("matches: [{path: {value: /a}}]"),
    'f.yaml:7:16: spec.rules.0.matches.0: unknown field "path", expected one of method, headers',
  ],
  [
    call("filters: [{type: ExtensionRef}]"),
    'f.yaml:7:22: spec.rules.0.filters.0.type: "ExtensionRef" is not supported by this version of Remora (it has RequestHeaderModifier, ResponseHeaderModifier, RequestMirror)',
  ],
  [
    call(
      "backendRefs: [{name: a, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: b}}}]}]",
    ),
    "f.yaml:7:46: spec.rules.0.backendRefs.0.filters.0.type: a mirror stands in the rule's own filters",
  ],
  [
    call("filters: [{type: URLRewrite}]"),
    'f.yaml:7:22: spec.rules.0.filters.0.type: unknown value "URLRewrite", expected one of RequestHeaderModifier, ResponseHeaderModifier, RequestMirror',
  ],
  [
    call("backendRefs: [{name: api, filters: [{type: RequestHeaderModifier}]}]"),
    'f.yaml:7:41: spec.rules.0.backendRefs.0.filters.0: type RequestHeaderModifier needs the field "requestHeaderModifier"',
  ],
  [
    call("timeouts: {request: 1s}"),
    'f.yaml:7:5: spec.rules.0: "timeouts" is not supported by this version of Remora; GRPCRoute has none; see timeouts of TrafficPolicy',
  ],
  [
    call("{}").replace("/v1", "/v1beta1"),
    'f.yaml:1:13: apiVersion: unknown value "gateway.networking.k8s.io/v1beta1", expected one of gateway.networking.k8s.io/v1, gateway.networking.k8s.io/v1alpha2; did you mean "gateway.networking.k8s.io/v1"?',
  ],
  [
    policy("protocol: htttp"),
    'f.yaml:6:13: spec.protocol: unknown value "htttp", expected one of http, http2, grpc, tcp; did you mean "http"?',
  ],
  [
    policy("retry: {on: [envoy-ratelimited]}"),
    'f.yaml:6:16: spec.retry.on.0: "envoy-ratelimited" is not supported: no sidecar says so of a response; name 429 in codes',
  ],
  [
    policy("retry: {on: [5xx, 4xx]}"),
    'f.yaml:6:21: spec.retry.on.1: unknown value "4xx", expected one of connect-failure, refused-stream, reset, reset-before-request, gateway-error, 5xx, retriable-4xx, retriable-status-codes, cancelled, deadline-exceeded, resource-exhausted, internal, unavailable; did you mean "5xx"?',
  ],
  [
    policy("retry: {on: [retriable-status-codes]}"),
    "f.yaml:6:15: spec.retry.on: retriable-status-codes announces statuses, but codes names none",
  ],
  [policy("retry: {backoff: {factor: 0.5}}"), "f.yaml:6:29: spec.retry.backoff.factor: must be at least 1"],
  [
    policy("retry: {backoff: {base: 2s, max: 1s}}"),
    "f.yaml:6:27: spec.retry.backoff.base: 2s is longer than max (1s)",
  ],
  [
    policy("retry: {perTryTimeout: 1s}\n  timeouts: {backendRequest: 2s}"),
    "f.yaml:6:26: spec.retry.perTryTimeout: 1s contradicts timeouts.backendRequest (2s), which is another name of it; write one of them",
  ],
  [
    policy("retry: {perTryTimeout: 2s}\n  timeouts: {request: 2s}"),
    "f.yaml:6:26: spec.retry.perTryTimeout: 2s is not shorter than timeouts.request (2s), which caps all attempts together",
  ],
  [
    policy("timeouts: {request: 2s, backendRequest: 2s}"),
    "f.yaml:6:43: spec.timeouts.backendRequest: 2s is as long as request, which caps all attempts together: leave it out, or make it shorter",
  ],
  [
    policy("timeouts: {request: 2s, backendRequest: 3s}"),
    "f.yaml:6:43: spec.timeouts.backendRequest: 3s is longer than request (2s), which caps all attempts together",
  ],
  [
    policy("timeouts: {idle: 2s}"),
    'f.yaml:6:14: spec.timeouts: "idle" is not supported by this version of Remora; see timeouts.streamIdle for requests under way, connectionPool.idleTimeout for connections',
  ],
  [
    policy("connectionPool: {tcp: {idleTimout: 1s}}"),
    'f.yaml:6:26: spec.connectionPool.tcp: unknown field "idleTimout"; did you mean "idleTimeout"?',
  ],
  ["a: 1", 'f.yaml:1:1: required field "kind" is missing or not a text'],
  ["- 1", "f.yaml:1:1: expected a map with apiVersion, kind, metadata and spec"],
  [
    "a: [",
    "f.yaml:1:5: not YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
  ],
  ["a: 1\na: 2", 'f.yaml:2:1: field "a" stands twice'],
  [
    route("{}").replace("/v1", "/v2"),
    'f.yaml:1:13: apiVersion: unknown value "gateway.networking.k8s.io/v2", expected one of gateway.networking.k8s.io/v1, gateway.networking.k8s.io/v1beta1; did you mean "gateway.networking.k8s.io/v1"?',
  ],
  [
    route("{}").replace("name: r", "name: R_x"),
    'f.yaml:3:18: metadata.name: "R_x" is not valid: a name is up to 253 of a-z, 0-9, - and ., with a letter or digit at both ends',
  ],
  [
    route("{}").replace("parentRefs: [{name: api}]", "parentRefs: []"),
    "f.yaml:5:15: spec.parentRefs: must name at least one service, else the route directs nobody",
  ],
  [
    `${policy("{}").replace("  {}", "")}---\n${policy("{}").replace("  {}", "")}`,
    "f.yaml:10:18: metadata.name: TrafficPolicy default/p is already in line 1 of this file",
  ],
  [
    route("{}").replace("spec:", "spec:\n  __proto__: {polluted: true}"),
    'f.yaml:5:3: spec: unknown field "__proto__", expected one of parentRefs, hostnames, rules',
  ],
  [
    route("{}").replace("spec:", "spec:\n  hostnames: [api.example:80]"),
    "f.yaml:5:15: spec.hostnames.0: must be a host name in lower case, without port; *. may stand at its beginning",
  ],
  [
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c]\n",
    "f.yaml:1:1: Excessive alias count indicates a resource exhaustion attack",
  ],
  [
    route("{}").replace("{name: r}", "{name: r, annotations: {remora.mesh/created: yesterday}}"),
    'f.yaml:3:56: metadata.annotations.remora.mesh/created: "yesterday" is not a time like 2026-01-31T12:00:00Z; leave the annotation out, apply writes it',
  ],
  [route("name: a\n  - name: a"), "f.yaml:8:11: spec.rules.1.name: rule a is named twice"],
  [route("backendRefs:"), "f.yaml:7:17: spec.rules.0.backendRefs: expected a list, found nothing"],
  [
    "apiVersion: v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {parentRefs: [{name: api}]}\n",
    'f.yaml:1:13: apiVersion: unknown value "v1", expected one of gateway.networking.k8s.io/v1, gateway.networking.k8s.io/v1beta1',
  ],
];

t.test("each mistake has its place, its cause and its cure", async (t) => {
  for (const [text, error] of mistakes) t.equal(errorOf(text), `ConfigError ${error}`, text);
});

t.test("all mistakes of a file are told, in the order of its lines", async (t) => {
  const text = `${policy("mtls: {mode: STRIC}")}---\n${route("timeouts: {request: soon, backendRequest: 1}")}`;
  try {
    parseDocuments(text, "two.yaml");
    t.fail("accepted");
  } catch (error: unknown) {
    if (!(error instanceof DocumentError)) throw error;
    t.same(
      error.problems.map(({ line, column }) => [line, column]),
      [
        [6, 16],
        [14, 25],
        [14, 47],
      ],
    );
    t.equal(error.file, "two.yaml");
    t.equal(error.message.split("\n").length, 3);
  }
});

t.test("empty documents, comments, JSON and several documents are fine", async (t) => {
  t.same(parseDocuments("", "f"), []);
  t.same(parseDocuments("# nothing\n---\n---\n", "f"), []);
  const [first, second] = parseDocuments(`${policy("")}---\n${route("{}")}---\n`, "f");
  t.match(first, { kind: "TrafficPolicy", metadata: { name: "p", namespace: "default" } });
  t.match(second, { kind: "HTTPRoute", spec: { rules: [{}] } });
  t.same(parseDocuments(JSON.stringify(second), "f"), [second]);
  const exported = route("{}").replace(
    "{name: r}",
    "{name: r, uid: x, generation: 3, labels: {__proto__: a}}",
  );
  t.match(parseDocuments(`${exported}status: {parents: []}\n`, "f"), [{ kind: "HTTPRoute" }]);
  t.equal(({} as { polluted?: unknown }).polluted, undefined);
});

t.test("an anchor and its aliases count as what they stand for", async (t) => {
  const text = route("timeouts: &t {request: 2s}\n  - timeouts: *t");
  const [document] = parseDocuments(text, "f");
  t.match(document, { spec: { rules: [{ timeouts: { request: "2s" } }, { timeouts: { request: "2s" } }] } });
  t.match(errorOf(route("timeouts: &t {request: soon}\n  - timeouts: *t")), /f.yaml:7:28.*\n.*f.yaml:7:28/s);
});

t.test("hostile texts end quickly with an error", async (t) => {
  const hostile: readonly (readonly [string, RegExp])[] = [
    ["x".repeat(1024 * 1024 + 1), /over the limit of 1048576/],
    ["---\n".repeat(2000), /2000 documents are over the limit of 1000/],
    ["[".repeat(3000), /nested too deeply/],
    ["- ".repeat(20_000), /nested too deeply/],
    // Compared each with each, these keys would take minutes.
    [Array.from({ length: 30_000 }, (_, index) => `k${index}: 1`).join("\n"), /"kind" is missing/],
    ["}\n".repeat(5000), /not YAML/],
  ];
  for (const [text, expected] of hostile) t.match(errorOf(text), expected, text.slice(0, 20));
});

t.test("any valid document survives its way through YAML", async () => {
  fc.assert(
    fc.property(anyDocument, (document) => {
      const [parsed] = parseDocuments(stringify(document), "any.yaml");
      const [again] = parseDocuments(stringify(parsed), "any.yaml");
      t.same(again, parsed);
      t.match(parsed, document as object);
    }),
    { numRuns: 200 },
  );
});

t.test("no text makes the parser throw anything but a ConfigError", async (t) => {
  const piece = fc.constantFrom(
    "a: ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "*a",
    "&a ",
    "\n",
    "  ",
    "---\n",
    "kind: HTTPRoute\n",
    "|",
    "'",
    '"',
    "<<: ",
    "!!js ",
    "%TAG",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) =>
      /^(accepted|ConfigError )/.test(errorOf(pieces.join(""))),
    ),
    { numRuns: 500 },
  );
  t.pass();
});

t.test("near words are found, far ones are not proposed", async (t) => {
  t.equal(editDistance("kitten", "sitting"), 3);
  t.equal(editDistance("ab", "ba"), 1);
  t.equal(nearestWord("timout", ["timeouts", "retry"]), "timeouts");
  t.equal(nearestWord("xyz", ["timeouts", "retry"]), undefined);
  t.equal(nearestWord("outlier", ["outlierDetection", "retry"]), "outlierDetection");
});

t.test("kinds are known by any of their names", async (t) => {
  t.equal(parseKind("httproutes"), "HTTPRoute");
  t.equal(parseKind("grpcroute"), "GRPCRoute");
  t.equal(parseKind("TrafficPolicies"), "TrafficPolicy");
  t.throws(() => parseKind("tcproute"), { name: "ConfigError" });
});

t.test("every field of every kind says what it means", async (t) => {
  for (const kind of kinds) {
    const undescribed: string[] = [];
    const walk = (schema: z.core.JSONSchema.BaseSchema, path: string): void => {
      for (const [name, field] of Object.entries(schema.properties ?? {})) {
        if (typeof field === "boolean") continue;
        if (field.description === undefined) undescribed.push(`${path}.${name}`);
        walk(field, `${path}.${name}`);
      }
      if (typeof schema.items === "object" && !Array.isArray(schema.items)) walk(schema.items, `${path}[]`);
    };
    walk(z.toJSONSchema(documentSchemas[kind], { io: "input" }), kind);
    t.same(undescribed, []);
  }
});
