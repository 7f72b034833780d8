import { startMesh, type MeshOwner } from "../support/cli-mesh.js";

/** Status of an answer that takes its time where no document sets a limit; rejects when there is none. */
export async function runSlowAnswer(owner: MeshOwner, seconds: number): Promise<number> {
  const mesh = await startMesh(owner);
  const reports = await mesh.join({ name: "reports", service: "reports" });
  const web = await mesh.join({ name: "web", service: "web", upstreams: ["reports"], command: [] });
  await mesh.untilKnown(web, "reports", [reports]);
  const { status } = await fetch(
    `http://127.0.0.1:${web.upstreams.get("reports") ?? 0}/?ms=${seconds * 1000}`,
    { signal: AbortSignal.timeout(2000 * seconds) },
  );
  return status;
}
