import { ConfigError } from "../../src/errors/config-error.js";
import { damagedState, readStateFile, writeStateFile, type StateFields } from "../state-file.js";
import { readRelationship, type Relationship, type RelationshipWish } from "./relationship.js";

/** Each has a bundle of up to 64 KiB, and files have a bound too. */
export const maxRelationships = 48;
const fix = "restore it from a backup, or remove it and add the other trust domains again";

/**
 * The relationships in `file`; none when there is no file. They are checked like an operator's wish: the file decides whom
 * the mesh believes.
 * @throws ConfigError
 */
export async function loadRelationships(
  file: string,
  ownTrustDomain: string,
): Promise<readonly Relationship[]> {
  const wishes = (await readStateFile(file, { parse: parseWishes, fix })) ?? [];
  try {
    return wishes.map((wish) => readRelationship(wish, ownTrustDomain));
  } catch (error: unknown) {
    throw error instanceof ConfigError ? damagedState(file, fix, error.message) : error;
  }
}

function parseWishes({ relationships }: StateFields): readonly RelationshipWish[] | undefined {
  const isWhole =
    Array.isArray(relationships) && relationships.every((one) => typeof one === "object" && one !== null);
  return isWhole ? (relationships as readonly RelationshipWish[]) : undefined;
}

export async function saveRelationships(file: string, relationships: readonly Relationship[]): Promise<void> {
  const wishes = relationships.map(({ trustDomain, endpoint, profile, bundle }) => ({
    trustDomain,
    endpoint,
    ...(profile.kind === "https_spiffe" && { endpointSpiffeId: profile.endpointSpiffeId }),
    ...(bundle !== undefined && { bundle }),
  }));
  await writeStateFile(file, { relationships: wishes });
}
