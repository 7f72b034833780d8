import { writeFileAtomic } from "../../certs/secret-file.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { readSecretText } from "../../src/identity/secret-text.js";
import { readRelationship, type Relationship, type RelationshipWish } from "./relationship.js";

/** Each has a bundle of up to 64 KiB, and files have a bound too. */
export const maxRelationships = 48;

/**
 * The relationships in `file`; none when there is no file. They are checked like an operator's wish: the file decides whom
 * the mesh believes.
 * @throws ConfigError
 */
export async function loadRelationships(
  file: string,
  ownTrustDomain: string,
): Promise<readonly Relationship[]> {
  const text = await readSecretText(file);
  if (text === undefined) return [];
  try {
    const { relationships } = JSON.parse(text) as { readonly relationships: readonly RelationshipWish[] };
    return relationships.map((wish) => readRelationship(wish, ownTrustDomain));
  } catch (error: unknown) {
    const reason = error instanceof ConfigError ? error.message : "it is not what was written there";
    const fix = "restore it from a backup, or remove it and add the other trust domains again";
    throw new ConfigError(`${file} is damaged (${reason}): ${fix}`, { cause: error });
  }
}

export async function saveRelationships(file: string, relationships: readonly Relationship[]): Promise<void> {
  const wishes = relationships.map(({ trustDomain, endpoint, profile, bundle }) => ({
    trustDomain,
    endpoint,
    ...(profile.kind === "https_spiffe" && { endpointSpiffeId: profile.endpointSpiffeId }),
    ...(bundle !== undefined && { bundle }),
  }));
  await writeFileAtomic(file, `${JSON.stringify({ relationships: wishes }, null, 1)}\n`);
}
