/** `make demo`: shows the mesh at work, step by step. Exit code 0 only if each step saw what it should. */
import { startMesh, type Mesh } from "./mesh.js";
import { steps } from "./steps.js";

const keep = process.env["KEEP"] === "1";

console.log("Starting a control plane, web, api x3 and api-v2, each by `remora run` ...");
const startMs = Date.now();
let mesh: Mesh | undefined;
try {
  mesh = await startMesh();
  for (const [index, { title, show }] of steps.entries()) {
    const lines = await show(mesh).catch((error: unknown) => {
      throw new Error(
        `step ${index + 1}, ${title}: ${error instanceof Error ? error.message : String(error)}`,
      );
    });
    console.log(`\n ${index + 1}. ${title}`);
    for (const line of lines) console.log(`      ${line}`);
  }
  console.log(`\nAll ${steps.length} steps seen, ${((Date.now() - startMs) / 1000).toFixed(1)} s.`);
  if (keep) await stay(mesh);
} catch (error) {
  process.exitCode = 1;
  console.error(`\nNot seen: ${error instanceof Error ? error.message : String(error)}`);
  if (mesh !== undefined) console.error(`Logs: ${mesh.dir}`);
}
const isKept = process.exitCode === 1 && mesh !== undefined;
if (mesh !== undefined) await mesh.close(isKept);

async function stay({ dir, web, apis, controlPlaneArgs }: Mesh): Promise<void> {
  const remora = `npx remora`;
  const client = controlPlaneArgs.join(" ");
  console.log(`
The mesh keeps running; Ctrl-C ends it. Try:
  curl http://127.0.0.1:${web.port}/                          call api through web
  curl -X POST http://127.0.0.1:${apis[1]?.port}/fail               make api-2 fail, -X DELETE heals it
  curl http://127.0.0.1:${web.admin}/clusters                  web's view of api, breakers included
  ${remora} status ${client}
  ${remora} get HTTPRoute api -o yaml ${client}
Logs and policies: ${dir}`);
  await new Promise<void>((resolve) => process.once("SIGINT", resolve).once("SIGTERM", resolve));
}
