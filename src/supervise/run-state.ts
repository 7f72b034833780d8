/**
 * What `remora run` does when: one transition function, no I/O. The order of a stop is the reason it exists: peers stop
 * sending before the application stops answering, and outbound works until the application's last call.
 */

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export type RunState =
  /** The sidecar is getting ready; the application was not started. */
  | { readonly state: "starting" }
  /** The application runs, if it is ours to run. */
  | { readonly state: "up" }
  /** Leaving the registry, then waiting until peers have heard of it. */
  | { readonly state: "withdrawing"; readonly exitCode: number }
  /** Finishing requests from the mesh. */
  | { readonly state: "draining"; readonly exitCode: number }
  /** The application was told to stop; outbound works. exitCode undefined: the application's own. */
  | { readonly state: "stopping"; readonly exitCode: number | undefined }
  /** Nothing is left but to close the sidecar. */
  | { readonly state: "closing"; readonly exitCode: number }
  | { readonly state: "ended"; readonly exitCode: number };

export type RunEvent =
  | { readonly kind: "ready" }
  /** The sidecar could not be started or was not ready in time. */
  | { readonly kind: "start-failed" }
  | { readonly kind: "spawn-failed"; readonly code: string }
  | { readonly kind: "app-exited"; readonly exit: Exit }
  /** SIGTERM or SIGINT reached us. */
  | { readonly kind: "stop"; readonly signal: "SIGTERM" | "SIGINT" }
  | { readonly kind: "withdrawn" }
  | { readonly kind: "drained" }
  /** The application did not end in time. */
  | { readonly kind: "stop-timeout" }
  /** An exception that nobody caught: the sidecar's state is no longer known. */
  | { readonly kind: "crashed" }
  | { readonly kind: "closed" };

export type RunAction =
  | "start-app"
  /** Watch for the application's port and then tell the registry. */
  | "announce"
  | "withdraw"
  | "drain-inbound"
  /** SIGTERM, and a stop-timeout event if it does not help. */
  | "stop-app"
  /** SIGKILL */
  | "kill-app"
  | "close";

export interface Transition {
  readonly next: RunState;
  readonly actions: readonly RunAction[];
}

/** @param hasApp is the application ours to start and stop? */
export function transition(current: RunState, event: RunEvent, hasApp: boolean): Transition {
  if (event.kind === "crashed") return onCrash(current, hasApp);
  if (event.kind === "stop" && current.state !== "starting" && current.state !== "up")
    return onSecondStop(current, event.signal, hasApp);
  switch (current.state) {
    case "starting":
      return whenStarting(event, hasApp) ?? stay(current);
    case "up":
      return whenUp(event) ?? stay(current);
    case "withdrawing":
      if (event.kind === "withdrawn")
        return to({ state: "draining", exitCode: current.exitCode }, "drain-inbound");
      break;
    case "draining":
      if (event.kind !== "drained") break;
      return hasApp ? to({ state: "stopping", exitCode: undefined }, "stop-app") : closing(current.exitCode);
    case "stopping":
      if (event.kind === "app-exited") return closing(current.exitCode ?? exitCodeOf(event.exit));
      if (event.kind === "stop-timeout") return to(current, "kill-app");
      return stay(current);
    case "closing":
      if (event.kind === "closed") return to({ state: "ended", exitCode: current.exitCode });
      return stay(current);
    case "ended":
      return stay(current);
  }
  // Gone before it was told to: there is nothing left to finish requests with.
  return event.kind === "app-exited" ? closing(exitCodeOf(event.exit)) : stay(current);
}

/** A shell's convention: 128 + the signal's number. */
export function exitCodeOf({ code, signal }: Exit): number {
  return code ?? 128 + (signalNumbers[signal ?? "SIGKILL"] ?? 0);
}

function whenStarting(event: RunEvent, hasApp: boolean): Transition | undefined {
  switch (event.kind) {
    case "ready":
      return hasApp ? to({ state: "up" }, "start-app", "announce") : to({ state: "up" }, "announce");
    case "start-failed":
      return closing(1);
    case "stop":
      return closing(128 + signalNumbers[event.signal]);
    default:
      return undefined;
  }
}

function whenUp(event: RunEvent): Transition | undefined {
  switch (event.kind) {
    case "app-exited":
      return closing(exitCodeOf(event.exit));
    case "spawn-failed":
      // POSIX shell: 127 when it is not found, 126 when it is found and cannot be run.
      return closing(event.code === "ENOENT" ? 127 : 126);
    case "stop":
      return to({ state: "withdrawing", exitCode: 0 }, "withdraw");
    default:
      return undefined;
  }
}

/** Whoever asks twice wants it now. */
function onSecondStop(current: RunState, signal: "SIGTERM" | "SIGINT", hasApp: boolean): Transition {
  if (current.state === "ended") return stay(current);
  const exitCode = 128 + signalNumbers[signal];
  if (current.state === "closing") return to({ state: "ended", exitCode });
  return hasApp ? to({ state: "closing", exitCode }, "kill-app", "close") : closing(exitCode);
}

function onCrash(current: RunState, hasApp: boolean): Transition {
  switch (current.state) {
    case "starting":
      return closing(1);
    case "stopping":
      return to({ state: "stopping", exitCode: 1 });
    case "closing":
      return to({ state: "ended", exitCode: 1 });
    case "ended":
      return stay(current);
    default:
      return hasApp ? to({ state: "stopping", exitCode: 1 }, "stop-app") : closing(1);
  }
}

function closing(exitCode: number): Transition {
  return to({ state: "closing", exitCode }, "close");
}

function to(next: RunState, ...actions: readonly RunAction[]): Transition {
  return { next, actions };
}

function stay(next: RunState): Transition {
  return { next, actions: [] };
}

/** POSIX numbers of the signals that end processes; the same on Linux and macOS but for SIGBUS. */
const signalNumbers = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
} as const satisfies Partial<Record<NodeJS.Signals, number>> as Readonly<Record<string, number>> & {
  readonly SIGINT: 2;
  readonly SIGTERM: 15;
};
