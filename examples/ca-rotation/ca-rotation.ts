/** `make example NAME=ca-rotation`: the CA is replaced, step by step and then in one go, while a caller calls. */
import path from "node:path";
import { freePorts } from "../demo/free-ports.js";
import { run, until } from "../demo/processes.js";
import { call } from "../demo/traffic.js";
import { show } from "../small-mesh.js";

interface CaStatus {
  readonly step: string;
  readonly active: { readonly rootFingerprint: string };
}

const service = () => [process.execPath, path.resolve(import.meta.dirname, "../plain-service.js")];

await show(async (mesh) => {
  const [toShop = 0] = await freePorts(1);
  await mesh.serve({ name: "shop-1", service: "shop", command: service });
  const flags = ["--upstream", `shop:${toShop}`];
  const laptop = await mesh.serve({ name: "laptop-1", service: "laptop", command: service, flags });
  await mesh.untilKnown(laptop, "shop", 1);

  let answers = 0;
  const failures: number[] = [];
  let isOver = false;
  const calling = (async (): Promise<void> => {
    while (!isOver) {
      const { status } = await call(toShop, "/tea");
      if (status === 200) answers += 1;
      else failures.push(status);
    }
  })();
  const status = async (): Promise<CaStatus> =>
    JSON.parse(await run(["ca", "status", "--output", "json", ...mesh.client])) as CaStatus;
  const untilStep = (step: string): Promise<true> =>
    until(`the CA to be ${step}`, 90_000, async () => ((await status()).step === step ? true : undefined));
  const rotate = (...step: readonly string[]): Promise<string> =>
    run(["ca", "rotate", ...step, ...mesh.client]);

  const old = (await status()).active.rootFingerprint;
  await rotate();
  await untilStep("distributed");
  console.log("distributed: both sidecars believe the next root");
  await rotate("--activate");
  await untilStep("renewed");
  console.log("renewed: both have certificates of it");
  await rotate("--finish");
  const next = (await status()).active.rootFingerprint;
  console.log(next === old ? "the root is the same" : "finished: the old root is gone");
  isOver = true;
  await calling;
  console.log(
    failures.length === 0 && answers > 10 ? "not one call failed" : `${answers}, ${failures.join(" ")}`,
  );
  if (next === old || failures.length > 0) throw new Error("unexpected");
});
