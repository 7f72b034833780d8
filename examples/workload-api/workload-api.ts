/** `make example NAME=workload-api`: an application uses its own identity, in TLS and in a token. */
import path from "node:path";
import { show } from "../small-mesh.js";

const program =
  (file: string, ...args: readonly string[]) =>
  () => [process.execPath, path.join(import.meta.dirname, file), ...args];

await show(async (mesh) => {
  const reports = await mesh.serve({
    name: "reports-1",
    service: "reports",
    command: program("reports-service.js"),
  });
  await mesh.untilRegistered(1);
  const said = await mesh.runToEnd({
    name: "billing",
    service: "billing",
    flags: ["--workload-api", "on"],
    command: program("reports-client.js", `${reports.inbound}`),
  });
  console.log(said.trim());
  if (!said.includes("greets spiffe://")) throw new Error("the caller was not known");
});
