/**
 * A conversation as bytes: what the client and the upstream of a relay do, in order. Each act is a letter, two bytes of length, and
 * that many bytes:
 *
 *     c, u   the client, the upstream sends them
 *     C, U   the client, the upstream ends its side; R, S: resets the connection
 *     t      100 ms pass
 */
import type { Mutator } from "./mutation.js";
import { mutate } from "./mutation.js";
import { mutateFrames } from "./frame-mutation.js";

export interface Act {
  readonly kind: string;
  readonly bytes: Buffer;
}

export const acts = "cuCURSt";
const maxActs = 60;

export function readScript(input: Buffer): Act[] {
  const script: Act[] = [];
  for (let at = 0; at + 3 <= input.length && script.length < maxActs;) {
    const kind = acts[(input[at] as number) % acts.length] as string;
    const letter = String.fromCharCode(input[at] as number);
    const end = at + 3 + input.readUInt16BE(at + 1);
    script.push({ kind: acts.includes(letter) ? letter : kind, bytes: input.subarray(at + 3, end) });
    at = end;
  }
  return script;
}

export function writeScript(script: readonly Act[]): Buffer {
  return Buffer.concat(
    script.flatMap(({ kind, bytes }) => {
      const head = Buffer.from(`${kind}..`);
      const body = bytes.subarray(0, 0xffff);
      head.writeUInt16BE(body.length, 1);
      return [head, body];
    }),
  );
}

/** Changes what one side sends, or who does what when. `isFrames`: which sides speak HTTP/2. */
export function mutateScript(
  input: Buffer,
  mutator: Mutator,
  isFrames: { readonly c: boolean; readonly u: boolean },
): Buffer {
  const { random } = mutator;
  const script = readScript(input);
  const below = (bound: number): number => Math.floor(random() * bound);
  for (let left = 1 + below(3); left > 0; left--) {
    const at = below(script.length);
    const act = script[at];
    const choice = below(10);
    if (act === undefined || choice === 0) {
      script.splice(at, 0, { kind: acts[below(acts.length)] as string, bytes: Buffer.alloc(0) });
    } else if (choice === 1) script.splice(at, 1);
    else if (choice === 2) script.splice(below(script.length + 1), 0, act);
    else if (choice === 3) {
      const place = below(act.bytes.length + 1);
      const halves = [act.bytes.subarray(0, place), act.bytes.subarray(place)];
      script.splice(at, 1, ...halves.map((bytes) => ({ ...act, bytes })));
    } else {
      const other = script[below(script.length)]?.bytes ?? act.bytes;
      const framed = act.kind === "c" ? isFrames.c : isFrames.u;
      const bytes =
        framed && random() < 0.8 ? mutateFrames(act.bytes, random) : mutate(act.bytes, other, mutator);
      script[at] = { ...act, bytes };
    }
  }
  return writeScript(script).subarray(0, mutator.maxBytes);
}
