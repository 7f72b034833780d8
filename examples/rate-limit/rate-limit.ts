/** `make example NAME=rate-limit`: a greedy caller is held back, and a modest one does not notice. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { show } from "../small-mesh.js";

const folder = path.resolve(import.meta.dirname, "../../../examples/rate-limit");
const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];

interface Said {
  readonly passed: number;
  readonly refused: number;
  readonly retryAfter: string;
}

await show(async (mesh) => {
  await mesh.serve({ name: "search-1", service: "search", command: program("search-service.js") });
  await mesh.untilRegistered(1);
  console.log(await mesh.apply(await readFile(path.join(folder, "rate-limit.yaml"), "utf8")));
  const send = async (service: string, count: number): Promise<Said> => {
    const said = await mesh.runToEnd({
      name: service,
      service,
      flags: ["--upstream", "search:0"],
      command: () => [...program("search-client.js")(), `${count}`],
    });
    return JSON.parse(said.split("\n").find((line) => line.startsWith('{"passed"')) ?? "{}") as Said;
  };
  const greedy = await send("greedy", 200);
  const modest = await send("modest", 5);
  console.log(
    `greedy: ${greedy.refused > 150 ? "held back" : "not held back"}, Retry-After: ${greedy.retryAfter}`,
  );
  console.log(`modest: ${modest.passed} of 5 passed`);
  if (greedy.passed < 5 || greedy.refused < 150 || modest.passed !== 5)
    throw new Error(`unexpected: ${JSON.stringify({ greedy, modest })}`);
});
