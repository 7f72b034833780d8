import type { AddressInfo } from "node:net";
import { ConfigError } from "../src/errors/config-error.js";

/** `127.0.0.1:15012`, `[::1]:15012`. */
export function formatAddress({ address, port }: AddressInfo): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** One line with cause and fix. */
export function listenError(error: NodeJS.ErrnoException, text: string, place: string): Error {
  switch (error.code) {
    case "EADDRINUSE":
      return new ConfigError(`${text} is in use by another process: stop it, or choose another port`, {
        place,
        cause: error,
      });
    case "EACCES":
      return new ConfigError(`${text}: this user may not open that port, choose one above 1023`, {
        place,
        cause: error,
      });
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return new ConfigError(`${text} is not an address of this machine`, { place, cause: error });
    default:
      return error;
  }
}
