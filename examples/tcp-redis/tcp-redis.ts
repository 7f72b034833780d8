/** `make example NAME=tcp-redis`: redis-cli and redis-server, neither of which knows of the mesh or of TLS, over mTLS. */
import { freePorts } from "../demo/free-ports.js";
import { programOnPath } from "../program-on-path.js";
import { show } from "../small-mesh.js";

await show(async (mesh) => {
  const server = programOnPath("redis-server", "brokers");
  const client = programOnPath("redis-cli", "brokers");
  const [local = 0] = await freePorts(1);
  await mesh.serve({
    name: "redis-1",
    service: "redis",
    flags: ["--protocol", "tcp"],
    command: (port) => [
      ...[server, "--port", `${port}`, "--bind", "127.0.0.1", "--dir", mesh.dir],
      ...["--save", "", "--appendonly", "no"],
    ],
  });
  await mesh.untilRegistered(1);
  const script = ["SET greeting hello", "APPEND greeting !", "GET greeting"];
  const said = await mesh.runToEnd({
    name: "shop",
    service: "shop",
    flags: ["--upstream", `redis:${local}`],
    command: () => ["sh", "-c", `printf '%s\\n' "$@" | "${client}" -p ${local}`, "sh", ...script],
  });
  const replies = said.split("\n").slice(-script.length);
  script.forEach((line, n) => console.log(`${line}: ${replies[n] ?? "nothing"}`));
  if (replies.join() !== "OK,6,hello!") throw new Error(`redis-cli said: ${said}`);
});
