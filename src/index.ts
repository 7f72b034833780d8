/** The sidecar as a library. */
export { startSidecar, type SidecarOptions } from "./app.js";
export type { AppCheck, Bootstrap, RegistrationConfig, UpstreamBinding } from "./config/bootstrap.js";
export { ConfigError } from "./errors/config-error.js";
export type { Log, LogLevel, Missing, Sidecar, SidecarPorts } from "./sidecar.js";
export { version } from "./version.js";
