import { lstat, stat, unlink } from "node:fs/promises";
import { connect, type Server } from "node:net";
import path from "node:path";
import { makeFolder } from "../../certs/secret-file.js";
import { ConfigError } from "../errors/config-error.js";

/** sun_path of sockaddr_un on Linux, without its final NUL. */
const maxPathBytes = 107;
const place = "--workload-api";

/**
 * Opens `server` at the unix socket `file`, which only this user may connect to. A folder that is missing is made 0700; a
 * socket that nobody listens at any more is taken away.
 *
 * @returns the function that takes the socket away again, unless somebody else's is there by then.
 * @throws ConfigError when somebody listens there, or it is no place for a socket.
 */
export async function listenLocally(server: Server, file: string): Promise<() => Promise<void>> {
  if (Buffer.byteLength(file) > maxPathBytes)
    throw refusal(`${file} is too long for a socket: at most ${maxPathBytes} bytes`, "choose a shorter path");
  await prepareFolder(path.dirname(file));
  await removeStale(file);
  await bind(server, file);
  const own = await lstat(file);
  return async () => {
    const present = await lstat(file).catch(() => undefined);
    if (present?.ino === own.ino && present.ctimeMs === own.ctimeMs)
      await unlink(file).catch(() => undefined);
  };
}

/** Whoever may write to the folder can put a socket of his own in our place. */
async function prepareFolder(folder: string): Promise<void> {
  try {
    await makeFolder(folder, 0o700);
    const { mode, uid } = await stat(folder);
    const isShared = (mode & 0o022) !== 0 && (mode & 0o1000) === 0;
    const isOurs = uid === process.getuid?.() || uid === 0;
    if (isShared || !isOurs)
      throw refusal(`others may write to ${folder}`, "choose a folder of your own, or run chmod go-w");
  } catch (error: unknown) {
    throw explained(error, folder);
  }
}

/** Takes the socket of a process that is gone away; nothing happens when there is none. */
async function removeStale(file: string): Promise<void> {
  const found = await lstat(file).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw explained(error, file);
  });
  if (found === undefined) return;
  if (!found.isSocket()) throw refusal(`${file} is there and no socket`, "choose another path");
  if (await isListening(file))
    throw refusal(`${file} is in use by another process`, "stop it, or choose another path");
  // Another sidecar may have put a fresh one there meanwhile.
  const present = await lstat(file).catch(() => undefined);
  if (present === undefined) return;
  if (present.ino !== found.ino || present.ctimeMs !== found.ctimeMs)
    throw refusal(`${file} is in use by another process`, "stop it, or choose another path");
  await unlink(file).catch((error: unknown) => {
    throw explained(error, file);
  });
}

function isListening(file: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(file);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    // Only a refusal says that nobody is there: without the right to connect, or with a full backlog, somebody may be.
    socket.once("error", (error: NodeJS.ErrnoException) => {
      resolve(error.code !== "ECONNREFUSED" && error.code !== "ENOENT");
    });
  });
}

/** The mode is set by the umask while the socket is made: between bind and a chmod others could connect. */
function bind(server: Server, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(explained(error, file)));
    const before = process.umask(0o177);
    try {
      server.listen(file, () => {
        server.removeAllListeners("error");
        server.on("error", () => undefined); // EMFILE on accept: node keeps listening, the client tries again
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}

function explained(error: unknown, file: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof ConfigError || code === undefined) return error;
  const reason = code === "EADDRINUSE" ? "in use by another process" : code;
  return refusal(
    `cannot open a socket at ${file} (${reason})`,
    "choose a folder that this user may write to",
    error,
  );
}

function refusal(what: string, fix: string, cause?: unknown): ConfigError {
  return new ConfigError(`${what}: ${fix}`, { place, cause });
}
