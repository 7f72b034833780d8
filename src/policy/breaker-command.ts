/** What an operator tells the breakers of one service. */
export interface BreakerCommand {
  /**
   * open: the service gets no request. close: nothing opens or ejects, and what is ejected comes back. isolate: one endpoint
   * gets no request. reset: all of that ends, and every breaker begins anew.
   */
  readonly action: "open" | "close" | "isolate" | "reset";
  /** address:port, IPv6 in brackets; undefined: the service as a whole. */
  readonly endpoint: string | undefined;
  /** How long it holds, milliseconds, > 0; it ends by itself. `reset` does not hold. */
  readonly forMs: number;
  /** isolate: also the last endpoint that takes traffic. */
  readonly isForced: boolean;
}

/** A command together with whom it is for. */
export interface ServiceCommand extends BreakerCommand {
  /** `<service>.<namespace>`; undefined, for `reset` only: all that the sidecar knows. */
  readonly service: string | undefined;
}

/** What became of a command. */
export interface BreakerAnswer {
  readonly isDone: boolean;
  /** One line: what holds now, or why not and what to do. */
  readonly text: string;
}

/** An override has begun or ended, for the log. */
export interface OverrideEvent {
  readonly action: BreakerCommand["action"];
  /** address:port; undefined: the service as a whole. */
  readonly endpoint: string | undefined;
  /** ended: its time was over; replaced: another command came. */
  readonly change: "begun" | "ended" | "replaced";
  readonly forMs: number;
}
