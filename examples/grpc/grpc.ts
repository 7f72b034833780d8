/** `make example NAME=grpc`: gRPC calls of one connection balanced, routed by method and header, streamed. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { show } from "../small-mesh.js";
import { folder } from "./greeter.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];

await show(async (mesh) => {
  const server = { command: program("greeter-server.js"), flags: ["--protocol", "grpc"] };
  await mesh.serve({ name: "greeter-1", service: "greeter", ...server });
  await mesh.serve({ name: "greeter-2", service: "greeter", ...server });
  await mesh.serve({ name: "greeter-next-1", service: "greeter-next", ...server });
  await mesh.untilRegistered(3);
  console.log(await mesh.apply(await readFile(path.join(folder, "greeter.yaml"), "utf8")));
  const said = await mesh.runToEnd({
    name: "shop",
    service: "shop",
    flags: ["--upstream", "greeter:0"],
    command: program("greeter-client.js"),
  });
  const line = said.split("\n").find((text) => text.startsWith('{"everybody"')) ?? "";
  const { everybody, beta, stream } = JSON.parse(line) as {
    readonly everybody: Readonly<Record<string, number>>;
    readonly beta: Readonly<Record<string, number>>;
    readonly stream: readonly string[];
  };
  console.log("100 calls over one connection:", everybody);
  console.log("10 calls of a beta tester:", beta);
  console.log("a stream:", stream.join(" · "));
  const isBalanced = Object.keys(everybody).sort().join() === "greeter-1,greeter-2";
  if (!isBalanced || beta["greeter-next-1"] !== 10 || stream.join() !== "Hello, Ada,Hello, Grace")
    throw new Error("the calls went elsewhere");
});
