import { listensAt } from "../src/traffic/address-kind.js";
import type { RefuseAddress } from "./catalog/consul-health.js";

/** The control plane's own ports, once they are open. */
export interface OwnPorts {
  /** @param address host:port as bound. */
  add(address: string): void;
  /** A mesh name that leads to our own admin API would hand it the requests of others (Consul CVE-2022-29153). */
  readonly refuse: RefuseAddress;
}

export function createOwnPorts(): OwnPorts {
  const own: { readonly host: string; readonly port: number }[] = [];
  return {
    add(address) {
      const colon = address.lastIndexOf(":");
      own.push({
        host: address.slice(0, colon).replace(/[[\]]/g, ""),
        port: Number(address.slice(colon + 1)),
      });
    },
    refuse(address, port) {
      const isOwn = own.some((one) => one.port === port && listensAt(one.host, address));
      return isOwn ? `${address}:${port} is a port of the control plane itself` : undefined;
    },
  };
}
