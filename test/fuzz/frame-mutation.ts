/** Mutations of HTTP/2 conversations that stay sequences of frames: their lengths are right, mostly. */
import { clientPreface } from "../../src/http2/frame.js";

interface RawFrame {
  type: number;
  flags: number;
  streamId: number;
  payload: Buffer;
}

const headBytes = 9;
const flagSets = [0, 1, 4, 5, 8, 9, 0x20, 0x25, 0x2d, 0xff];

/** One to three frames changed, left out, repeated, moved or put in. */
export function mutateFrames(input: Buffer, random: () => number): Buffer {
  const below = (bound: number): number => Math.floor(random() * bound);
  const hasPreface = input.subarray(0, clientPreface.length).equals(clientPreface);
  const { frames, rest } = split(hasPreface ? input.subarray(clientPreface.length) : input);
  for (let left = 1 + below(3); left > 0; left--) change(frames, below, random);
  return Buffer.concat([hasPreface ? clientPreface : Buffer.alloc(0), ...frames.map(join), rest]);
}

function change(frames: RawFrame[], below: (bound: number) => number, random: () => number): void {
  const at = below(frames.length);
  const frame = frames[at];
  if (frame === undefined || random() < 0.1) {
    const payload = Buffer.from(Array.from({ length: below(20) }, () => below(256)));
    const known = frames[below(frames.length)]?.streamId ?? 1;
    frames.splice(at, 0, { type: below(11), flags: flagSets[below(10)] as number, streamId: known, payload });
    return;
  }
  switch (below(9)) {
    case 0:
      frames.splice(at, 1);
      return;
    case 1:
      frames.splice(at, 0, ...Array<RawFrame>(1 + below(random() < 0.9 ? 3 : 300)).fill(frame));
      return;
    case 2: {
      const other = below(frames.length);
      [frames[at], frames[other]] = [frames[other] as RawFrame, frame];
      return;
    }
    case 3:
      frames[at] = {
        ...frame,
        flags: random() < 0.7 ? frame.flags ^ (1 << below(6)) : (flagSets[below(10)] as number),
      };
      return;
    case 4:
      frames[at] = {
        ...frame,
        streamId: Math.max(0, random() < 0.8 ? frame.streamId + below(7) - 3 : below(2 ** 31)),
      };
      return;
    case 5:
      frames[at] = { ...frame, type: below(11) };
      return;
    default:
      frames[at] = { ...frame, payload: changed(frame.payload, below, random) };
  }
}

function changed(payload: Buffer, below: (bound: number) => number, random: () => number): Buffer {
  const at = below(payload.length + 1);
  if (random() < 0.5) {
    const copy = Buffer.from(payload);
    if (at < copy.length) copy[at] = random() < 0.5 ? below(256) : (copy[at] as number) ^ (1 << below(8));
    return copy;
  }
  const piece =
    random() < 0.5 ? payload.subarray(0, below(payload.length + 1)) : Buffer.alloc(below(40), below(256));
  return Buffer.concat([payload.subarray(0, at), piece, payload.subarray(at + below(8))]);
}

function split(bytes: Buffer): { frames: RawFrame[]; rest: Buffer } {
  const frames: RawFrame[] = [];
  let at = 0;
  while (at + headBytes <= bytes.length) {
    const end = at + headBytes + bytes.readUIntBE(at, 3);
    if (end > bytes.length) break;
    const [type, flags] = [bytes[at + 3] as number, bytes[at + 4] as number];
    frames.push({
      type,
      flags,
      streamId: bytes.readUInt32BE(at + 5),
      payload: bytes.subarray(at + headBytes, end),
    });
    at = end;
  }
  return { frames, rest: bytes.subarray(at) };
}

function join({ type, flags, streamId, payload }: RawFrame): Buffer {
  const head = Buffer.alloc(headBytes);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags & 0xff;
  head.writeUInt32BE(streamId >>> 0, 5);
  return Buffer.concat([head, payload]);
}
