import { errorTable } from "../errors/error-table.js";
import { overflowLabel } from "./family.js";

/** IANA's registered status codes, and the ones that load balancers are known to send. Others appear as their class. */
const statusCodes = new Set([
  ...[200, 201, 202, 203, 204, 205, 206, 207, 208, 226],
  ...[101, 300, 301, 302, 303, 304, 305, 307, 308],
  ...[400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418],
  ...[421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499],
  ...[500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511, 520, 521, 522, 523, 524, 529],
]);

/** Flags of requests that are not an error of the table (Envoy's RESPONSE_FLAGS). */
const otherFlags = ["-", "URX", "LR", "DI", "FI", "IH", "SI", "UMSDR", "OM", "DF", "DT"];
const flags = new Set([...Object.values(errorTable).map((row) => row.flag), ...otherFlags]);
for (const flag of [...flags])
  if (flag !== "-" && flag !== "URX") {
    flags.add(`${flag},URX`);
    if (flag !== "DI") flags.add(`${flag},DI`);
  }

/** Label of a status: 0 (nobody was answered) is "0", an unregistered one its class, for example "4xx". */
export function responseCodeLabel(status: number): string {
  if (status === 0 || statusCodes.has(status)) return String(status);
  return responseClass(status) === "0" ? overflowLabel : `${responseClass(status)}xx`;
}

/** First digit of a status, as envoy_response_code_class has it; "0" outside 100-599. */
export function responseClass(status: number): string {
  return status >= 100 && status <= 599 ? String(Math.floor(status / 100)) : "0";
}

/** Label of response flags: one known flag, or one with `,URX`. */
export function responseFlagsLabel(flag: string): string {
  return flags.has(flag) ? flag : overflowLabel;
}

/** Label of a gRPC status code: "" when the request was not gRPC. */
export function grpcStatusLabel(grpcStatus: number): string {
  if (grpcStatus < 0) return "";
  return Number.isInteger(grpcStatus) && grpcStatus <= 16 ? String(grpcStatus) : overflowLabel;
}
