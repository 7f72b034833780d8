import { readFile } from "node:fs/promises";
import { ConfigError } from "../errors/config-error.js";

/** What lets a sidecar join, as text: never logged. */
export type JoinProof =
  | { readonly kind: "token"; readonly text: string }
  /** Its own rights in Consul decide. */
  | { readonly kind: "consul"; readonly text: string };

/** Where the proof is kept. Read when it is needed: the file may be there only then. */
export interface JoinSource {
  readonly service: string;
  /** A file, or "-" for the first line of standard input. */
  readonly tokenFile: string | undefined;
  /** File with an ACL token of Consul; goes before `tokenFile`. */
  readonly consulJoinFile?: string | undefined;
}

/** A token has some hundred characters; a wrong path or pipe may give anything. */
const maxBytes = 4096;

/**
 * @param found what there is in its place, for the error.
 * @throws ConfigError when there is none, or it cannot be read.
 */
export async function readJoinProof(source: JoinSource, found: string): Promise<JoinProof> {
  const { service, tokenFile, consulJoinFile } = source;
  const how = `create a token with "remora token create --service ${service}" and pass it with --token-file`;
  if (consulJoinFile !== undefined)
    return {
      kind: "consul",
      text: await readToken(consulJoinFile, "--consul-token-file", "put Consul's ACL token there"),
    };
  if (tokenFile === undefined) throw new ConfigError(`${found}, and there is no join token: ${how}`);
  const text =
    tokenFile === "-" ? await readLine(process.stdin, how) : await readToken(tokenFile, "--token-file", how);
  return { kind: "token", text };
}

async function readToken(file: string, place: string, how: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unreadable";
    throw new ConfigError(`cannot read ${file} (${code}): ${how}`, { cause, place });
  }
}

/** Up to the end of the line or of the input, whichever comes first: a terminal has no end. */
function readLine(input: NodeJS.ReadStream, how: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const done = (): void => {
      input.off("data", take).off("end", done).off("error", done).pause();
      const line = text.split("\n", 1)[0]?.trim() ?? "";
      if (line !== "") resolve(line);
      else reject(new ConfigError(`standard input has no token: ${how}`, { place: "--token-file" }));
    };
    const take = (chunk: Buffer): void => {
      text += chunk.toString("latin1");
      if (text.includes("\n") || text.length > maxBytes) done();
    };
    if (input.readableEnded || input.destroyed) return done();
    input.on("data", take).once("end", done).once("error", done);
  });
}
