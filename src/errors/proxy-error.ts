import { errorTable, type ErrorCode, type ErrorRow } from "./error-table.js";

/** What a reply may have besides its row of the table. */
export interface ProxyErrorOptions extends ErrorOptions {
  readonly headers?: readonly string[];
  /** HTTP status that a document asks for. */
  readonly status?: number;
  /** What the access log says in place of the code. */
  readonly logAs?: string;
}

/**
 * A request that cannot go on. Thrown or passed where the cause is understood; turned into a reply only in
 * proxy/rescue.ts.
 */
export class ProxyError extends Error {
  override readonly name = "ProxyError";
  readonly code: ErrorCode;
  /** What happened, to whom, what to do: one line, lower case, safe to show to the caller and in logs. */
  readonly detail: string;
  /** Further fields of the reply, a flat list as in traffic/headers.ts. */
  readonly headers: readonly string[];
  /** For the access log. */
  readonly logAs: string;
  readonly #status: number | undefined;

  constructor(code: ErrorCode, detail: string, options: ProxyErrorOptions = {}) {
    const { stackTraceLimit } = Error;
    // A trace costs ten times the rest of a request that a flood resets, and says nothing that code and detail do not.
    if (code !== "internal") Error.stackTraceLimit = 0;
    super(detail === "" ? errorTable[code].text : `${errorTable[code].text}: ${detail}`, options);
    Error.stackTraceLimit = stackTraceLimit;
    this.code = code;
    this.detail = detail;
    this.headers = options.headers ?? [];
    this.logAs = options.logAs ?? code;
    this.#status = options.status;
  }

  /** HTTP status of the reply; 0 when nobody is left to reply to. */
  get status(): number {
    return this.#status ?? this.row.status;
  }

  get row(): ErrorRow {
    return errorTable[this.code];
  }
}
