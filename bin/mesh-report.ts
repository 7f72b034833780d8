import type { ServiceView, SidecarView, StatusView } from "../control-plane/admin/views.js";
import type { AdminClient } from "./admin-client.js";

/** What a control plane says of itself and its mesh. */
export interface MeshReport {
  readonly controlPlane: StatusView;
  readonly sidecars: readonly SidecarView[];
  readonly services: readonly ServiceView[];
}

/** @throws CommandError when the control plane cannot be asked. */
export async function readMesh(client: AdminClient): Promise<MeshReport> {
  const [controlPlane, { sidecars }, { services }] = await Promise.all([
    client.get("/v1/status") as Promise<StatusView>,
    client.get("/v1/sidecars") as Promise<Pick<MeshReport, "sidecars">>,
    client.get("/v1/services") as Promise<Pick<MeshReport, "services">>,
  ]);
  return { controlPlane, sidecars, services };
}
