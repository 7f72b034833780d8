import { credentials, makeClientConstructor, Metadata, type Client, type ServiceError } from "@grpc/grpc-js";
import { securityHeader, workloadService, type JwtSvidResponse } from "../../src/workload-api/protocol.js";
import type { CommandBody } from "../command.js";
import { CommandError, exitCodes, UsageError } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import type { jwtSettings } from "../settings/jwt-settings.js";

/** A sidecar answers at once, or asks its control plane. */
const timeoutMs = 10_000;

/** `remora jwt`: standard output has the token alone, so that scripts can use it. */
export const jwt: CommandBody<typeof jwtSettings> = async (settings, _operands, terminal) => {
  const { audience, output } = settings;
  const socket = settings.socket?.path ?? pathOf(terminal.env["SPIFFE_ENDPOINT_SOCKET"]);
  if (audience.length === 0)
    throw new UsageError(
      "--audience",
      "is missing; say who shall take the token, like https://partner.example",
    );
  if (socket === undefined)
    throw new UsageError(
      "--socket",
      "is missing; name the socket of the sidecar's --workload-api, like unix:///run/web/workload.sock",
    );
  const { svids } = await fetchToken(socket, audience);
  const [svid] = svids;
  if (svid === undefined)
    throw new CommandError(`${socket}: the answer holds no token; is it a Workload API?`);
  if (output === "json") printJson(terminal, { spiffeId: svid.spiffeId, token: svid.svid });
  else printLines(terminal, [svid.svid]);
  return exitCodes.ok;
};

function pathOf(endpoint: string | undefined): string | undefined {
  return /^unix:(?:\/\/)?(\/[^/].*)$/.exec(endpoint ?? "")?.[1];
}

function fetchToken(socket: string, audience: readonly string[]): Promise<JwtSvidResponse> {
  const Stub = makeClientConstructor({ ...workloadService }, "SpiffeWorkloadAPI");
  const client: Client = new Stub(`unix:${socket}`, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set(securityHeader.name, securityHeader.value);
  const { path, requestSerialize, responseDeserialize } = workloadService.FetchJWTSVID;
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      { audience, spiffeId: "" },
      metadata,
      { deadline: Date.now() + timeoutMs },
      (error: ServiceError | null, answer?: JwtSvidResponse) => {
        client.close();
        if (error === null && answer !== undefined) resolve(answer);
        else
          reject(new CommandError(`--socket: ${socket}: ${error?.details ?? "no answer"}`, { cause: error }));
      },
    );
  });
}
