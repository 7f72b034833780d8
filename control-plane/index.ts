/** The control plane as a library: what `remora control-plane` runs. */
export { startControlPlane, type ControlPlane } from "./app.js";
export type { ConsulSettings, ControlPlaneSettings } from "./settings.js";
export type { AdminError } from "./admin/admin-server.js";
export type { DocumentView, ServiceView, SidecarView, StatusView } from "./admin/views.js";
