/** `make example NAME=websocket`: a chat whose server knows who speaks, because the mesh has proven it. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { show } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const policy = path.resolve(import.meta.dirname, "../../../examples/websocket/chat.yaml");

await show(async (mesh) => {
  await mesh.serve({ name: "chat-1", service: "chat", command: program("chat-server.js") });
  await mesh.untilRegistered(1);
  console.log(await mesh.apply(await readFile(policy, "utf8")));
  for (const service of ["ada", "grace"]) {
    const flags = ["--upstream", "chat:0"];
    const command = program("chat-client.js");
    const said = await mesh.runToEnd({ name: service, service, flags, command });
    const lines = said.split("\n").filter((line) => /^(heard|closed)/.test(line));
    console.log(`${service} ${lines.join(", ")}`);
    if (lines.join() !== `heard ${service}: hello,closed 1000`) throw new Error(`${service} heard: ${said}`);
  }
});
