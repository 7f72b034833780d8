import type { Instance } from "./small-mesh.js";
import { call } from "./demo/traffic.js";

/** The name of whoever answers `web`'s application when it asks api. */
export async function answererOf(web: Instance): Promise<string> {
  return (await call(web.port, "/api/")).body.split(" ")[0] ?? "";
}

/** Twenty requests; every one must be answered by `name`. */
export async function expectAnswerer(web: Instance, what: string, name: string): Promise<void> {
  const names = new Set<string>();
  for (let i = 0; i < 20; i++) names.add(await answererOf(web));
  console.log(`${what}: ${[...names].join(", ")} answers`);
  if (names.size !== 1 || !names.has(name)) throw new Error(`${what}: expected ${name} only`);
}
