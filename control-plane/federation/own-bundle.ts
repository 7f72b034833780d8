import { createHash } from "node:crypto";
import { jwkSetText, readJwkSet } from "../../certs/jwk.js";
import { formatSpiffeBundle } from "../../certs/spiffe-bundle.js";
import type { TrustSource } from "../../src/identity/mesh-trust.js";
import { readStateFile, writeStateFile, type StateFields } from "../state-file.js";

/** The bundle of our own trust domain, as others get it. */
export interface OwnBundle {
  /** JSON, with the sequence number of its content. */
  text(): Promise<string>;
}

interface Numbered {
  readonly digest: string;
  readonly sequence: number;
}

/**
 * @param file where the sequence number is kept: it must grow with each change, over restarts too.
 * @param refreshHint seconds.
 */
export function ownBundle(options: {
  readonly trustDomain: string;
  readonly trust: TrustSource;
  readonly file: string;
  readonly refreshHint: number;
}): OwnBundle {
  const { trustDomain, trust, file, refreshHint } = options;
  let numbered: Promise<Numbered> | undefined;
  const numberOf = async (digest: string, before: Promise<Numbered> | undefined): Promise<Numbered> => {
    const known = await (before?.catch(() => undefined) ?? readNumber(file));
    if (known?.digest === digest) return known;
    const next = { digest, sequence: (known?.sequence ?? 0) + 1 };
    await writeStateFile(file, { ...next });
    return next;
  };
  return {
    async text() {
      const { bundles, jwtKeys } = trust.get();
      const rootsPem = bundles.get(trustDomain) ?? "";
      const keys = readJwkSet(jwtKeys?.get(trustDomain) ?? "");
      const digest = createHash("sha256")
        .update(JSON.stringify([rootsPem, jwkSetText(keys)]))
        .digest("hex");
      // One after the other: two requests at once must not give two contents one number.
      numbered = numberOf(digest, numbered);
      const { sequence } = await numbered;
      return formatSpiffeBundle({ rootsPem, jwtKeys: keys, sequence, refreshHint });
    },
  };
}

/** A damaged file is not taken for none: the number would begin anew, and others would go on with what they have. */
function readNumber(file: string): Promise<Numbered | undefined> {
  const fix = "restore it from a backup, or other meshes refuse our bundle as older";
  return readStateFile(file, { parse: parseNumber, fix });
}

function parseNumber({ digest, sequence }: StateFields): Numbered | undefined {
  const isWhole = typeof digest === "string" && Number.isSafeInteger(sequence);
  return isWhole ? { digest, sequence: sequence as number } : undefined;
}
