import { request, type IncomingMessage } from "node:http";
import path from "node:path";
import { text } from "node:stream/consumers";
import { readSecretFile, SecretFileError } from "../certs/secret-file.js";
import { defaultDataDir } from "./default-folders.js";
import { CommandError, UsageError } from "./failure.js";
import type { adminSettings } from "./settings/client-settings.js";
import type { Values } from "./settings/setting.js";
import type { Terminal } from "./terminal.js";

/** The admin API of a control plane, as the command line uses it. */
export interface AdminClient {
  readonly url: string;
  /** The answer's body. @throws CommandError for an answer that is an error, or none. */
  get(path: string): Promise<unknown>;
  getText(path: string): Promise<string>;
  post(path: string, body: string, headers?: Readonly<Record<string, string>>): Promise<unknown>;
  delete(path: string): Promise<unknown>;
}

/** A control plane answered, and it was an error. */
export class AdminError extends CommandError {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Applying a thousand documents is the longest that the admin API does. */
const timeoutMs = 30_000;

/** @throws CommandError when the admin token cannot be read. */
export async function openAdminClient(
  settings: Values<typeof adminSettings>,
  terminal: Terminal,
): Promise<AdminClient> {
  const base = settings.adminUrl;
  if (!base.startsWith("http://"))
    throw new UsageError("--admin-url", `${base} is not served by a control plane; write http://HOST:PORT`);
  const token = await readToken(settings, terminal);
  const call = async (method: string, at: string, body = "", headers = {}): Promise<string> => {
    const response = await send(base, { method, at, body, token, headers });
    return readReply(response);
  };
  return {
    url: base,
    get: async (at) => parseReply(await call("GET", at)),
    getText: (at) => call("GET", at),
    post: async (at, body, headers) => parseReply(await call("POST", at, body, headers)),
    delete: async (at) => parseReply(await call("DELETE", at)),
  };
}

async function readToken(settings: Values<typeof adminSettings>, terminal: Terminal): Promise<string> {
  const dataDir = settings.dataDir ?? defaultDataDir(terminal);
  const file = settings.adminTokenFile ?? path.join(dataDir, "admin.token");
  try {
    const token = await readSecretFile(file);
    if (token !== undefined) return token.trim();
  } catch (error: unknown) {
    if (error instanceof SecretFileError)
      throw new CommandError(`--admin-token-file: ${error.message}`, { cause: error });
    throw error;
  }
  throw new CommandError(
    `--admin-token-file: there is no admin token in ${file}; name the control plane's folder with --data-dir, or a copy of its admin.token with --admin-token-file`,
  );
}

interface Call {
  readonly method: string;
  readonly at: string;
  readonly body: string;
  readonly token: string;
  readonly headers: Readonly<Record<string, string>>;
}

function send(base: string, { method, at, body, token, headers }: Call): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const call = request(`${base}${at}`, {
      method,
      timeout: timeoutMs,
      headers: { authorization: `Bearer ${token}`, "content-length": Buffer.byteLength(body), ...headers },
    });
    call.on("timeout", () => call.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
    call.on("error", (error) => reject(unreachable(base, error)));
    call.on("response", resolve);
    call.end(body);
  });
}

async function readReply(response: IncomingMessage): Promise<string> {
  const body = await text(response);
  const status = response.statusCode ?? 0;
  if (status >= 200 && status < 300) return body;
  throw new AdminError(status, describeRefusal(status, body));
}

function parseReply(body: string): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch (error: unknown) {
    throw new CommandError("--admin-url: answers without JSON and is no control plane; correct the address", {
      cause: error,
    });
  }
}

/** `{error, fix}`, or something that is no control plane. An error of several lines has its places already. */
function describeRefusal(status: number, body: string): string {
  let reply: { readonly error?: unknown; readonly fix?: unknown } = {};
  try {
    reply = JSON.parse(body) as typeof reply;
  } catch {
    // Told below.
  }
  if (typeof reply.error !== "string")
    return `--admin-url: answered ${status} and is no control plane; correct the address`;
  const hasOwnPlaces = status === 422 || reply.fix === "" || typeof reply.fix !== "string";
  return hasOwnPlaces ? reply.error : `${reply.error}; ${String(reply.fix)}`;
}

function unreachable(base: string, cause: Error): CommandError {
  const why = (cause as NodeJS.ErrnoException).code ?? cause.message;
  return new CommandError(
    `--admin-url: control plane ${base} is unreachable (${why}); start it with remora control-plane, or correct the address`,
    { cause },
  );
}
