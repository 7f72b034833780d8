/** A worker as one that may take a connection. */
export interface Candidate {
  /** Connections that it was sent and has not received. */
  readonly handing: number;
  /** Its open connections of a listener. Key: address:port. */
  readonly connections: ReadonlyMap<string, number>;
}

/**
 * Who takes the next connection of the listener `at`: whoever is quick to take them, then whoever has the fewest. Mesh
 * connections are few and live long, and all requests of a peer share them: each listener is spread by itself, and a
 * worker that has just replaced another catches up. undefined when there are none.
 *
 * @param turn differs from call to call: who comes first among equals.
 */
export function spread<W extends Candidate>(workers: readonly W[], at: string, turn: number): W | undefined {
  let best: W | undefined;
  for (let i = 0; i < workers.length; i++) {
    const worker = workers[(turn + i) % workers.length] as W;
    if (best === undefined || isBetter(worker, best, at)) best = worker;
  }
  return best;
}

function isBetter(one: Candidate, other: Candidate, at: string): boolean {
  if (one.handing !== other.handing) return one.handing < other.handing;
  return (one.connections.get(at) ?? 0) < (other.connections.get(at) ?? 0);
}
