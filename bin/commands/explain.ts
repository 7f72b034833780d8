import type { AuthorizationExplanation } from "../../control-plane/explain/explain-authorization.js";
import type { BackendExplanation, CallExplanation } from "../../control-plane/explain/explain-call.js";
import { formatDuration } from "../../src/time/duration.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import { printable } from "../output/table.js";
import type { explainSettings } from "../settings/policy-settings.js";

/** `remora explain` */
export const explain: CommandBody<typeof explainSettings> = async (settings, operands, terminal) => {
  const [caller = "", service = "", method = "", path = ""] = operands;
  const client = await openAdminClient(settings, terminal);
  const query = new URLSearchParams({ caller, service, method, path, namespace: settings.namespace });
  for (const header of settings.header) query.append("header", header);
  const view = (await client.get(`/v1/explain?${query.toString()}`)) as CallExplanation;
  if (settings.output === "json") printJson(terminal, view);
  else printLines(terminal, linesOf(view).map(printable));
  return exitCodes.ok;
};

function linesOf(explanation: CallExplanation): readonly string[] {
  const { caller, service, method, path, doubts, route, backends } = explanation;
  const call = [
    `${caller} -> ${service} ${method} ${path}`,
    ...doubts.map((doubt) => `warning        ${doubt}`),
  ];
  if (route === undefined) return [...call, "route          none matches: the caller gets 404 no_route"];
  const { name, source, timeoutMs, attemptTimeoutMs, retries, does } = route;
  const details = [
    timeoutMs === undefined ? "" : `timeout ${formatDuration(timeoutMs)}`,
    attemptTimeoutMs === undefined ? "" : `${formatDuration(attemptTimeoutMs)} per attempt`,
    retries === undefined ? "" : `${retries} retries`,
    ...does,
  ].filter((detail) => detail !== "");
  const from = source === "default" ? "the default one" : `${source} (${name})`;
  return [
    ...call,
    `route          ${[from, ...details].join(", ")}`,
    ...backends.flatMap((backend) => backendLines(backend)),
  ];
}

function backendLines(backend: BackendExplanation): readonly string[] {
  const { cluster, share, endpoints, transport, protocol, mtlsMode, source, path, authorization } = backend;
  if (cluster === "") return [`${share} %`.padEnd(15) + "a service that there is not: 500 no_backend"];
  const reached =
    endpoints === 0
      ? "no usable instance"
      : `${endpoints} instance${endpoints === 1 ? "" : "s"} over ${transport}`;
  return [
    `${`${share} % go to`.padEnd(15)}${cluster}: ${reached}, ${protocol}, mtls ${mtlsMode}, limits of ${source}`,
    `               asked for ${path}`,
    `authorization  ${verdictText(authorization)}${transport === "mtls" ? "" : "; instances without a sidecar do not ask"}`,
    ...authorization.considered.map(({ policy, action, isTriedOut, matches, rule }) => {
      const how = isTriedOut ? `${action}, tried out` : action;
      const says =
        matches === "no"
          ? "does not match"
          : matches === "yes"
            ? `rule ${rule} matches`
            : `rule ${rule} may match, by the caller's address`;
      return `               ${policy} (${how}): ${says}`;
    }),
  ];
}

function verdictText({ verdict, by, wouldDeny }: AuthorizationExplanation): string {
  if (verdict === "deny") return `denied by ${by}`;
  if (verdict === "depends") return `may be denied by ${by}, by the caller's address`;
  const allowed = by === "" ? "allowed: no policy speaks about it" : `allowed by ${by}`;
  return wouldDeny === "" ? allowed : `${allowed}; would be denied by ${wouldDeny}, which is tried out`;
}
