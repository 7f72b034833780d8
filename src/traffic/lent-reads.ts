import { Socket } from "node:net";

/** One TLS write of that size leaves as one system call: node hands at most ten buffers of 16 KiB to the kernel at a time. */
const lentBytes = 128 * 1024;

const shared = Buffer.allocUnsafeSlow(lentBytes);

interface ReadProperties {
  /** The buffer that node reads into. */
  readonly buffer: symbol;
  /** Told how many bytes came; false stops reading. */
  readonly callback: symbol;
}

interface Handle {
  useUserBuffer?(buffer: Buffer): void;
}

/** Where node keeps the option `onread` of a socket: without names of their own, so looked for once. */
const properties = ((): ReadProperties | undefined => {
  const symbols = Object.getOwnPropertySymbols(new Socket());
  const buffer = symbols.find(({ description }) => description === "kBuffer");
  const callback = symbols.find(({ description }) => description === "kBufferCb");
  return buffer && callback && { buffer, callback };
})();

/**
 * Makes a connected socket, plain or TLS, read into one buffer of the process: node would take a new one of 16 KiB for each
 * TLS record, of 64 KiB for each plain read, and clearing those away costs a tunnel more than encryption does. It is the option
 * `onread` of node:net, which neither accepted sockets nor TLS over a socket of one's own have. Bytes no longer come as "data".
 * @param onChunk told each chunk; after its return the chunk is overwritten.
 * @returns false, with nothing changed: a socket that holds bytes already, or that has such a buffer; or a node without these
 * properties, which are not documented.
 */
export function lendReads(socket: Socket, onChunk: (chunk: Buffer) => void): boolean {
  const carrier = socket as unknown as Record<symbol, unknown> & { readonly _handle?: Handle | null };
  const handle = carrier._handle;
  if (properties === undefined || typeof handle?.useUserBuffer !== "function") return false;
  if (socket.readableLength > 0 || carrier[properties.buffer] !== null) return false;
  carrier[properties.callback] = (size: number): boolean => {
    onChunk(shared.subarray(0, size));
    return true;
  };
  carrier[properties.buffer] = shared;
  handle.useUserBuffer(shared);
  return true;
}
