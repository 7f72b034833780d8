import { errorTable, type ErrorCode, type ErrorRow } from "./error-table.js";

/**
 * A request that cannot go on. Thrown or passed where the cause is understood; turned into a reply only in
 * proxy/rescue.ts.
 */
export class ProxyError extends Error {
  override readonly name = "ProxyError";
  readonly code: ErrorCode;
  /** What happened, to whom, what to do: one line, lower case, safe to show to the caller and in logs. */
  readonly detail: string;

  constructor(code: ErrorCode, detail: string, options?: ErrorOptions) {
    super(`${errorTable[code].text}: ${detail}`, options);
    this.code = code;
    this.detail = detail;
  }

  get row(): ErrorRow {
    return errorTable[this.code];
  }
}
