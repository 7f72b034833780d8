import { readSync } from "node:fs";
import type { Socket } from "node:net";

/** Enough for any answer to a refused upload; the kernel may hold megabytes. */
const maxBytes = 256 * 1024;

/**
 * What the peer of a broken plain TCP connection had said before it broke. An upstream that refuses an upload answers and
 * closes over bytes it has not read, which sends a reset; the next write then fails, and node destroys the socket although
 * its answer lies in the kernel, still readable (envoyproxy/envoy#2929). To be called from the callback of the failed write,
 * while the socket is open. Empty for TLS, and wherever the socket does not show its descriptor.
 */
export function unreadBytes(socket: Socket): Buffer[] {
  const chunks: Buffer[] = [];
  const buffered: unknown = socket.read();
  if (Buffer.isBuffer(buffered)) chunks.push(buffered);
  const descriptor = plainDescriptor(socket);
  if (descriptor === undefined) return chunks;
  const bytes = Buffer.allocUnsafeSlow(maxBytes);
  let size = 0;
  try {
    for (let read = -1; read !== 0 && size < maxBytes; size += read) {
      read = readSync(descriptor, bytes, size, maxBytes - size, null);
    }
  } catch {
    // EAGAIN or the reset itself: nothing more is there.
  }
  if (size > 0) chunks.push(bytes.subarray(0, size));
  return chunks;
}

/**
 * Was it a reset that the socket has just reported as "end"? When bytes and a reset are read in one go, libuv takes the
 * POLLHUP for the end of the stream (uv__stream_io). A body that lasts until the connection closes would then seem whole.
 * To be called from the "end" event: nothing that is still wanted can be in the kernel then, in TLS neither.
 */
export function isEndedByReset(socket: Socket): boolean {
  const descriptor = descriptorOf(socket);
  if (descriptor === undefined) return false;
  try {
    readSync(descriptor, Buffer.allocUnsafe(1), 0, 1, null);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ECONNRESET";
  }
}

/**
 * Closes with a reset, so that the peer does not take what it has got for all there is. Under TLS it is the TCP connection
 * that is reset. node's own resetAndDestroy() ends the writable side first, so that peers mostly see a FIN, and crashes
 * the process when it is called below a TLS socket with writes under way; the property that it sets does neither. Should
 * node no longer know the property, what is left is a close without a close_notify.
 */
export function resetSocket(socket: Socket): void {
  // uv_tcp_close_reset refuses while a shutdown waits for bytes to go out, and node then forgets the descriptor.
  const isEnding = socket.writableEnded && !socket.writableFinished;
  const carrier = "encrypted" in socket ? (socket as { readonly _parent?: Resettable })._parent : socket;
  if (carrier !== undefined && !isEnding) (carrier as Resettable).resetAndClosing = true;
  socket.destroy();
}

interface Resettable {
  resetAndClosing?: boolean;
}

function plainDescriptor(socket: Socket): number | undefined {
  return "encrypted" in socket ? undefined : descriptorOf(socket);
}

/** Not documented by node, so it may be missing one day; then nothing is found. */
function descriptorOf(socket: Socket): number | undefined {
  const descriptor = (socket as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd;
  return descriptor !== undefined && descriptor >= 0 ? descriptor : undefined;
}
