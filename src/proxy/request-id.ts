import { randomFillSync } from "node:crypto";

const textLength = 36;
const batch = 128;
const hex = "0123456789abcdef";
const random = Buffer.allocUnsafeSlow(batch * 16);
const letters = Buffer.allocUnsafeSlow(batch * textLength);

let ids = "";
let at = 0;

/** A random UUID (RFC 9562 §5.4, version 4). Made by the hundred: one by one they cost as much as a whole layer. */
export function newRequestId(): string {
  if (at >= ids.length) {
    ids = makeBatch();
    at = 0;
  }
  const id = ids.slice(at, at + textLength);
  at += textLength;
  return id;
}

function makeBatch(): string {
  randomFillSync(random);
  let to = 0;
  for (let i = 0; i < random.length; i++) {
    const place = i & 15;
    let byte = random[i] as number;
    if (place === 6) byte = (byte & 0x0f) | 0x40;
    else if (place === 8) byte = (byte & 0x3f) | 0x80;
    if (place === 4 || place === 6 || place === 8 || place === 10) letters[to++] = 0x2d;
    letters[to++] = hex.charCodeAt(byte >> 4);
    letters[to++] = hex.charCodeAt(byte & 15);
  }
  return letters.toString("latin1");
}
