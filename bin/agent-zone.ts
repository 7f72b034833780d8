import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

/** The agent is on this machine. One that does not answer is no reason to start later. */
const timeoutMs = 1000;
const maxAnswerBytes = 1024 * 1024;

/**
 * The zone of this machine as its Consul agent has it: `zone` of the node's metadata, else Consul's own locality. "" when
 * there is none, the agent does not answer, or the token lacks agent:read.
 */
export async function agentZone(agent: {
  readonly url: string;
  readonly token: string | undefined;
  readonly caFile: string | undefined;
}): Promise<string> {
  try {
    return zoneOf(JSON.parse(await read(agent)));
  } catch {
    return "";
  }
}

function zoneOf(self: unknown): string {
  const { Meta, Config } = (self ?? {}) as {
    readonly Meta?: { readonly zone?: unknown };
    readonly Config?: { readonly Locality?: { readonly Zone?: unknown } };
  };
  const zone = Meta?.zone ?? Config?.Locality?.Zone;
  return typeof zone === "string" ? zone : "";
}

function read({ url, token, caFile }: Parameters<typeof agentZone>[0]): Promise<string> {
  const target = new URL(`${url.replace(/\/$/, "")}/v1/agent/self`);
  const options = {
    timeout: timeoutMs,
    headers: token === undefined ? {} : { "X-Consul-Token": token },
    ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }),
  };
  return new Promise((resolve, reject) => {
    const { get } = target.protocol === "https:" ? https : http;
    const request = get(target, options, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
        if (text.length > maxAnswerBytes) request.destroy(new Error("too long"));
      });
      response.on("error", reject);
      response.on("end", () => (response.statusCode === 200 ? resolve(text) : reject(new Error(text))));
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", reject);
  });
}
