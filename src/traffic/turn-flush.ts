/** Output that is collected while an event-loop turn reads its sockets. */
export interface TurnOutput {
  /** Hands over what was collected; told once per flushAfterReading(). Must not throw. */
  runScheduled(): void;
}

let dirty: TurnOutput[] = [];
let turn = 0;

/** A number that changes with each turn that made output. */
export function turnOfLoop(): number {
  return turn;
}

/**
 * Has `output` flushed when all sockets that are readable in this turn were read: what several of them caused to be written
 * to one connection leaves it as one system call and one TLS record.
 */
export function flushAfterReading(output: TurnOutput): void {
  if (dirty.length === 0) setImmediate(flushDirty);
  dirty.push(output);
}

function flushDirty(): void {
  turn++;
  const outputs = dirty;
  dirty = [];
  for (const output of outputs) output.runScheduled();
}
