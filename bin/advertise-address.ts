import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { CommandError } from "./failure.js";

/**
 * The address of this machine from which `host` is reached: peers that use the same control plane reach us there, in the
 * usual network. Nothing is sent: connecting a UDP socket only asks the routing table.
 *
 * @throws CommandError when the name does not resolve or there is no route.
 */
export async function addressTowards(host: string): Promise<string> {
  const address = await resolve(host);
  if (isLoopbackAddress(address)) return address;
  const socket = createSocket(isIP(address) === 6 ? "udp6" : "udp4");
  try {
    await new Promise<void>((done, reject) => {
      socket.once("error", reject);
      socket.connect(9, address, done);
    });
    return socket.address().address;
  } catch (error: unknown) {
    throw unknownAddress(host, error);
  } finally {
    socket.close();
  }
}

/** RFC 1122 §3.2.1.3 and RFC 4291 §2.5.3. */
export function isLoopbackAddress(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}

async function resolve(host: string): Promise<string> {
  if (isIP(host) !== 0) return host;
  try {
    return (await lookup(host)).address;
  } catch (error: unknown) {
    throw unknownAddress(host, error);
  }
}

function unknownAddress(host: string, error: unknown): CommandError {
  const { code } = error as NodeJS.ErrnoException;
  return new CommandError(
    `--control-plane: ${host} cannot be reached from here (${code}); correct it, or give this machine's address with --advertise`,
    { cause: error },
  );
}
