/** Ids as Consul's CA writes them, read and written beside our own. */
import t from "tap";
import { formatSpiffeId, parseSpiffeId } from "../../certs/spiffe-id.js";

const trustDomain = "11111111-2222-3333-4444-555555555555.consul";

t.test("both shapes are read, and written as they were", async (t) => {
  const ours = `spiffe://${trustDomain}/ns/default/svc/web`;
  const consuls = `spiffe://${trustDomain}/ns/default/dc/dc1/svc/web`;
  t.same(parseSpiffeId(ours), { trustDomain, namespace: "default", service: "web" });
  t.same(parseSpiffeId(consuls), { trustDomain, namespace: "default", datacenter: "dc1", service: "web" });
  for (const text of [ours, consuls]) t.equal(formatSpiffeId(parseSpiffeId(text)), text);
});

t.test("neither shape is stretched", async (t) => {
  for (const path of [
    "/ns/default/dc/dc1/svc",
    "/ns/default/dc//svc/web",
    "/ns/default/dc/dc1/svc/web/more",
    "/ns/default/dc/dc1/dc/dc2/svc/web",
    "/ns/default/dc/dc1/web/svc",
    "/ns/default/zone/dc1/svc/web",
    "/ns/default/dc/DC1/svc/web",
    "/ns/default/dc/../svc/web",
    "/agent/client/dc/dc1/id/11111111",
    "/ap/default/ns/default/dc/dc1/svc/web",
  ])
    t.throws(() => parseSpiffeId(`spiffe://${trustDomain}${path}`), { name: "CertificateError" }, path);
  t.throws(() =>
    formatSpiffeId({ trustDomain, namespace: "default", datacenter: "dc1/svc/x", service: "web" }),
  );
});
