import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import path from "node:path";
import { writeFileAtomic } from "../../certs/secret-file.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { readSecretText } from "../../src/identity/secret-text.js";

/** The bearer token of the admin API. */
export interface AdminToken {
  /** Where the command line finds it: `<data-dir>/admin.token`, 0600. */
  readonly file: string;
  /** Compares in constant time. */
  isToken(text: string): boolean;
}

/** 32 bytes, base64url, with a prefix that secret scanners can look for. */
const pattern = /^rma1\.[A-Za-z0-9_-]{43}$/;

/**
 * The token in `dataDir`, made there at the first start.
 *
 * @throws ConfigError when the file is damaged or readable by others.
 */
export async function loadOrCreateAdminToken(dataDir: string): Promise<AdminToken> {
  const file = path.join(dataDir, "admin.token");
  let token = await read(file);
  if (token === undefined) {
    token = `rma1.${randomBytes(32).toString("base64url")}`;
    await writeFileAtomic(file, `${token}\n`);
  }
  const expected = digest(token);
  return { file, isToken: (text) => timingSafeEqual(digest(text), expected) };
}

async function read(file: string): Promise<string | undefined> {
  const token = (await readSecretText(file))?.trim();
  if (token !== undefined && !pattern.test(token))
    throw new ConfigError("is no admin token: remove the file, the next start makes a new one", {
      place: file,
    });
  return token;
}

/** Equal length for any text, as timingSafeEqual needs it. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
