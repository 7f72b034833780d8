import type { Client } from "@grpc/grpc-js";
import type { LatestValue } from "../lifecycle/latest-value.js";
import type { Clock } from "../time/clock.js";
import { jwtSvidService, type IssueJwtResponse } from "./proto/jwt-svids.js";
import { unaryCall } from "./unary-call.js";

interface Held {
  readonly token: string;
  readonly fetchedAtMs: number;
  readonly lifeMs: number;
}

/** Applications call a handful of others; one that makes audiences up must not fill the memory. */
const maxHeld = 256;
const callTimeoutMs = 5000;
/** What is left of a token that is given away must last for the call that it is wanted for. */
const leastLeftMs = 15_000;

/**
 * JWT-SVIDs of our own identity, asked for at the control plane when they are wanted and kept until half of their life is
 * over; after that the old one still serves while the control plane cannot be reached. Calls at once share one request.
 */
export function jwtSvids(options: {
  readonly client: LatestValue<Client | undefined>;
  readonly clock: Clock;
}): (audience: readonly string[]) => Promise<string> {
  const { client, clock } = options;
  /** By audiences, oldest first. */
  const held = new Map<string, Held>();
  const asked = new Map<string, Promise<string>>();

  const keep = (key: string, { token, lifeSeconds }: IssueJwtResponse): string => {
    held.delete(key);
    held.set(key, { token, fetchedAtMs: clock.monotonicMs(), lifeMs: lifeSeconds * 1000 });
    const oldest = held.keys().next().value;
    if (held.size > maxHeld && oldest !== undefined) held.delete(oldest);
    return token;
  };
  const fetch = async (key: string, audience: readonly string[]): Promise<string> => {
    try {
      return keep(key, await issue(client.get(), audience, clock));
    } catch (error: unknown) {
      const old = held.get(key);
      if (old !== undefined && ageMs(old) + leastLeftMs < old.lifeMs) return old.token;
      throw error;
    }
  };
  const ageMs = ({ fetchedAtMs }: Held): number => clock.monotonicMs() - fetchedAtMs;

  return (audience) => {
    const key = JSON.stringify([...new Set(audience)].sort());
    const known = held.get(key);
    if (known !== undefined && ageMs(known) < known.lifeMs / 2) return Promise.resolve(known.token);
    const present = asked.get(key);
    if (present !== undefined) return present;
    const request = fetch(key, audience).finally(() => asked.delete(key));
    asked.set(key, request);
    return request;
  };
}

function issue(
  client: Client | undefined,
  audience: readonly string[],
  clock: Clock,
): Promise<IssueJwtResponse> {
  if (client === undefined) return Promise.reject(new Error("there is no connection to the control plane"));
  return unaryCall(client, jwtSvidService.Issue, { audience }, { clock, timeoutMs: callTimeoutMs });
}
