/** What the demo applies. */

const route = (rule: string): string => `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
${rule}`;

/** Retries of GET on 503, three further attempts. */
export const retries = route(`  - backendRefs: [{name: api}]
    retry: {codes: [503], attempts: 3, backoff: 10ms}
`);

/** A canary: `percent` of the requests go to api-v2, and each may take `timeout`. */
export const split = (percent: number, timeout: string): string =>
  route(`  - backendRefs: [{name: api, weight: ${100 - percent}}, {name: api-v2, weight: ${percent}}]
    retry: {codes: [503], attempts: 3, backoff: 10ms}
    timeouts: {request: ${timeout}}
`);

/** A breaker that reacts within seconds, so that the demo need not wait. */
export const breaker = `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  outlierDetection: {consecutive5xx: 5, baseEjectionTime: 1s, maxEjectionTime: 2s, maxEjectionPercent: 50}
`;
