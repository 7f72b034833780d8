import { request, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { CommandError } from "./failure.js";

/** A sidecar asks its workers first, for a second at most. */
const timeoutMs = 5000;

/**
 * One request to the admin API of a sidecar. Resolves with the body of its answer.
 *
 * @throws CommandError for an answer that is an error, or none.
 */
export async function askSidecar(base: string, method: "GET" | "POST", at: string): Promise<string> {
  if (!base.startsWith("http://"))
    throw new CommandError(`--admin-url: ${base} is not served by a sidecar; write http://127.0.0.1:PORT`);
  const response = await send(base, method, at);
  const body = (await text(response)).trimEnd();
  const status = response.statusCode ?? 0;
  if (status >= 200 && status < 300) return body;
  if (status === 401 || status === 404)
    throw new CommandError(
      `--admin-url: ${base} is no sidecar of this version; name the port of its --admin, not that of the control plane`,
    );
  throw new CommandError(body.split("\n", 1)[0] || `the sidecar answered ${status}`);
}

function send(base: string, method: string, at: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const call = request(`${base}${at}`, { method, timeout: timeoutMs, headers: { "content-length": 0 } });
    call.on("timeout", () => call.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
    call.on("error", (cause) => {
      const why = (cause as NodeJS.ErrnoException).code ?? cause.message;
      reject(
        new CommandError(
          `--admin-url: sidecar ${base} is unreachable (${why}); its admin API is on its own machine, at the port of --admin`,
          { cause },
        ),
      );
    });
    call.on("response", resolve);
    call.end();
  });
}
