import { ConfigError } from "../errors/config-error.js";

export interface HostPort {
  /** Name or IP literal, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** As it was written. */
  readonly text: string;
}

const pattern = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:[\]/@]+)):(\d{1,5})$/;

/**
 * Reads `host:port`, IPv6 in brackets. Port 0 is allowed: a listener then takes a free one.
 *
 * @param place the setting, for the error text: `--listen`.
 * @throws ConfigError
 */
export function parseHostPort(text: string, place: string): HostPort {
  const match = pattern.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined || port > 65_535)
    throw new ConfigError(
      `${JSON.stringify(text.slice(0, 100))} is not HOST:PORT, for example 127.0.0.1:15012`,
      {
        place,
      },
    );
  return { host, port, text };
}
