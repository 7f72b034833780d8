import { readFile } from "node:fs/promises";
import { ConfigError } from "../errors/config-error.js";
import { startRenewal, type RenewalEvent } from "../identity/renewal.js";
import { loadSvid, saveSvid } from "../identity/svid-file.js";
import type { CertificateSource, Svid } from "../identity/svid.js";
import { LatestValue } from "../lifecycle/latest-value.js";
import type { Clock } from "../time/clock.js";
import { enroll, renew } from "./enroll.js";

export interface IdentityKeeperOptions {
  readonly stateDir: string;
  readonly service: string;
  readonly namespace: string;
  readonly controlPlane: string;
  /** Needed only while there is no usable certificate in stateDir. */
  readonly tokenFile: string | undefined;
  readonly clock: Clock;
  readonly onEvent: (event: RenewalEvent) => void;
  /** A certificate that could not be saved: it is in use, but a restart will not find it. */
  readonly onSaveFailed: (error: unknown) => void;
}

export interface IdentityKeeper {
  readonly source: CertificateSource;
  close(): void;
}

/**
 * The sidecar's identity over its whole life: from the state directory, else by join token, then renewed in place.
 *
 * @throws ConfigError no certificate and no way to get one; names the fix.
 */
export async function keepIdentity(options: IdentityKeeperOptions): Promise<IdentityKeeper> {
  const { stateDir, clock, controlPlane, onEvent, onSaveFailed } = options;
  const saved = await loadSvid(stateDir);
  const usable = saved !== undefined && saved.notAfterMs > clock.wallMs() ? saved : undefined;
  const source: CertificateSource = new LatestValue<Svid | undefined>(usable ?? (await join(options)));
  const renewal = startRenewal({
    source,
    clock,
    onEvent,
    renew: async (signal) => {
      const current = source.get();
      if (current === undefined) throw new Error("no identity to renew");
      const next = await renew(current, { controlPlane, clock, signal });
      await saveSvid(stateDir, next).catch(onSaveFailed);
      return next;
    },
  });
  return { source, close: () => renewal.close() };
}

async function join(options: IdentityKeeperOptions): Promise<Svid> {
  const { stateDir, service, namespace, controlPlane, clock } = options;
  const token = await readToken(options);
  const svid = await enroll({ controlPlane, token, service, namespace, clock });
  // Before anything else: the token is used up, so this certificate is all there is.
  await saveSvid(stateDir, svid);
  return svid;
}

async function readToken({ tokenFile, service, stateDir }: IdentityKeeperOptions): Promise<string> {
  const how = `create a token with "remora token create --service ${service}" and pass it with --token-file`;
  if (tokenFile === undefined) {
    throw new ConfigError(`no valid certificate in ${stateDir} and no join token: ${how}`);
  }
  try {
    return (await readFile(tokenFile, "utf8")).trim();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unreadable";
    throw new ConfigError(`cannot read ${tokenFile} (${code}): ${how}`, { cause, place: "--token-file" });
  }
}
