import { startSidecar } from "../src/app.js";
import { acceptsConnections } from "../src/registration/app-probe.js";
import { supervise } from "../src/supervise/supervise.js";
import { bootstrapOf, type SidecarSettings } from "./bootstrap.js";
import { createOperatorLog } from "./operator-log.js";
import { withSmallHeap } from "./small-heap.js";
import type { Terminal } from "./terminal.js";

/** The application is on this machine: it answers at once or not at all. */
const probeTimeoutMs = 1000;

/**
 * A sidecar from start to end.
 *
 * @param command the application; undefined when somebody else starts it.
 * @returns the exit code.
 */
export async function runSidecar(
  settings: SidecarSettings,
  command: readonly string[] | undefined,
  terminal: Terminal,
): Promise<number> {
  const { clock, env } = terminal;
  const { log, level } = createOperatorLog(settings.logLevel, terminal);
  const bootstrap = await bootstrapOf(settings, terminal, (message) => log("warn", message));
  const start = async () => {
    const sidecar = await withSmallHeap(() =>
      startSidecar({
        bootstrap,
        log,
        logLevel: level,
        clock,
        onQuit: () => void process.kill(process.pid, "SIGTERM"),
      }),
    );
    // The first configuration is kept as the modules are.
    void withSmallHeap(() => sidecar.missing.until((missing) => missing.length === 0));
    const { inbound, outbound, admin, upstreams } = sidecar.ports;
    log("info", "sidecar started", {
      inbound: `${bootstrap.inboundAddress}:${inbound}`,
      outbound: outbound === undefined ? "off" : `127.0.0.1:${outbound}`,
      admin: `127.0.0.1:${admin}`,
      ...Object.fromEntries([...upstreams].map(([name, port]) => [`upstream ${name}`, `127.0.0.1:${port}`])),
    });
    return sidecar;
  };
  // The clock's timers let a process end: while only they are waiting, something must hold it.
  const hold = setInterval(() => {}, 2 ** 30);
  return supervise({
    start,
    command,
    env,
    isAppListening: () =>
      acceptsConnections({
        address: bootstrap.appAddress,
        port: bootstrap.appPort,
        timeoutMs: probeTimeoutMs,
        clock,
      }),
    readyTimeoutMs: settings.readyTimeout,
    // Without a wait for requests an application still gets a moment to end by itself.
    stopTimeoutMs: Math.max(settings.drainTimeout, 1000),
    processEvents: process,
    clock,
    log,
  }).finally(() => clearInterval(hold));
}
