/** `make example NAME=revocation`: a caller's certificate is taken back while it calls; only a new token lets it in again. */
import path from "node:path";
import { freePorts } from "../demo/free-ports.js";
import { run, until } from "../demo/processes.js";
import { call } from "../demo/traffic.js";
import { show } from "../small-mesh.js";

const service = () => [process.execPath, path.resolve(import.meta.dirname, "../plain-service.js")];

await show(async (mesh) => {
  const [toShop = 0] = await freePorts(1);
  const upstream = ["--upstream", `shop:${toShop}`];
  await mesh.serve({ name: "shop-1", service: "shop", command: service });
  const laptop = await mesh.serve({ name: "laptop-1", service: "laptop", command: service, flags: upstream });
  await mesh.untilKnown(laptop, "shop", 1);
  const buy = async (): Promise<string> => {
    const { status, body } = await call(toShop, "/tea");
    return status === 200 ? `${status} ${body}` : `${status}`;
  };
  console.log(`before: ${await buy()}`);

  const { certificates } = JSON.parse(
    await run(["cert", "list", "--service", "laptop", "--output", "json", ...mesh.client]),
  ) as { readonly certificates: readonly { readonly serial: string; readonly state: string }[] };
  const serial = certificates[0]?.serial ?? "";
  const revoke = ["cert", "revoke", serial, "--reason", "laptop stolen"];
  console.log((await run([...revoke, ...mesh.client])).replace(serial, "SERIAL"));
  const startMs = performance.now();
  const refused = await until("the shop to refuse it", 10_000, async () => {
    const answer = await buy();
    return answer.startsWith("200") ? undefined : answer;
  });
  console.log(`after: ${refused}, ${performance.now() - startMs < 3000 ? "at once" : "late"}`);

  // Another instance, with a token of its own, made after that.
  const [again = 0] = await freePorts(1);
  const next = { name: "laptop-2", service: "laptop", command: service };
  const joined = await mesh.serve({ ...next, flags: ["--upstream", `shop:${again}`] });
  await mesh.untilKnown(joined, "shop", 1);
  const { status, body } = await call(again, "/tea");
  console.log(`with a new token: ${status} ${body}`);
  const audit = await run(["audit", "--limit", "10", ...mesh.client]);
  console.log(audit.includes("laptop stolen") ? "the audit log knows who it was, and why" : audit);
  if (status !== 200 || refused.startsWith("200")) throw new Error("unexpected");
});
