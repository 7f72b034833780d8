import { Http2ConnectionError } from "./connection-error.js";
import { defaultFrameBytes, defaultWindowBytes, errorCode, maxWindowBytes } from "./frame.js";
import type { Http2Limits } from "./limits.js";

/** Identifiers of settings (RFC 9113 §6.5.2, RFC 8441 §3). */
export const settingId = {
  headerTableSize: 0x1,
  enablePush: 0x2,
  maxConcurrentStreams: 0x3,
  initialWindowSize: 0x4,
  maxFrameSize: 0x5,
  maxHeaderListSize: 0x6,
  enableConnectProtocol: 0x8,
} as const;

const settingBytes = 6;

/** What the peer said about itself, at first what RFC 9113 §6.5.2 presumes. */
export class PeerSettings {
  headerTableBytes = 4096;
  /** Infinity: not told. */
  maxConcurrentStreams = Infinity;
  initialWindowBytes = defaultWindowBytes;
  maxFrameBytes = defaultFrameBytes;
  /** It takes extended CONNECT (RFC 8441 §3). */
  takesConnect = false;

  /**
   * Applies the payload of a SETTINGS frame. Unknown ones are skipped. Throws Http2ConnectionError.
   *
   * @returns the least size of the HPACK table that it went through: each value counts (RFC 9113 §6.5.3).
   */
  apply(bytes: Buffer, from: number, to: number, isServer: boolean): number {
    let leastTableBytes = Infinity;
    for (let at = from; at + settingBytes <= to; at += settingBytes) {
      const [id, value] = [bytes.readUInt16BE(at), bytes.readUInt32BE(at + 2)];
      if (id === settingId.headerTableSize) leastTableBytes = Math.min(leastTableBytes, value);
      this.#set(id, value, isServer);
    }
    return Math.min(leastTableBytes, this.headerTableBytes);
  }

  #set(id: number, value: number, isServer: boolean): void {
    switch (id) {
      case settingId.headerTableSize:
        this.headerTableBytes = value;
        break;
      case settingId.enablePush:
        // A server must not send 1 either (RFC 9113 §6.5.2).
        if (value > 1 || (value === 1 && isServer)) throw badSetting("ENABLE_PUSH", value);
        break;
      case settingId.maxConcurrentStreams:
        this.maxConcurrentStreams = value;
        break;
      case settingId.initialWindowSize:
        if (value > maxWindowBytes) {
          throw new Http2ConnectionError(
            errorCode.flowControlError,
            "flow_control_error",
            `SETTINGS_INITIAL_WINDOW_SIZE ${value}`,
          );
        }
        this.initialWindowBytes = value;
        break;
      case settingId.maxFrameSize:
        if (value < defaultFrameBytes || value > 2 ** 24 - 1) throw badSetting("MAX_FRAME_SIZE", value);
        this.maxFrameBytes = value;
        break;
      case settingId.enableConnectProtocol:
        if (value > 1 || (value === 0 && this.takesConnect))
          throw badSetting("ENABLE_CONNECT_PROTOCOL", value);
        this.takesConnect = value === 1;
        break;
    }
  }
}

function badSetting(name: string, value: number): Http2ConnectionError {
  return new Http2ConnectionError(errorCode.protocolError, "protocol_error", `SETTINGS_${name} ${value}`);
}

/** Our settings as the payload of a SETTINGS frame. Those that equal the defaults of the RFC are left out. */
export function settingsPayload(limits: Http2Limits, role: "client" | "server"): Buffer {
  const settings: number[] = [];
  if (limits.headerTableBytes !== 4096) settings.push(settingId.headerTableSize, limits.headerTableBytes);
  if (role === "client") settings.push(settingId.enablePush, 0);
  else settings.push(settingId.maxConcurrentStreams, limits.maxConcurrentStreams);
  if (limits.streamWindowBytes !== defaultWindowBytes)
    settings.push(settingId.initialWindowSize, limits.streamWindowBytes);
  if (limits.maxFrameBytes !== defaultFrameBytes) settings.push(settingId.maxFrameSize, limits.maxFrameBytes);
  settings.push(settingId.maxHeaderListSize, limits.maxHeadBytes);
  if (role === "server") settings.push(settingId.enableConnectProtocol, 1);
  const payload = Buffer.alloc((settings.length / 2) * settingBytes);
  for (let i = 0; i < settings.length; i += 2) {
    payload.writeUInt16BE(settings[i] as number, (i / 2) * settingBytes);
    payload.writeUInt32BE(settings[i + 1] as number, (i / 2) * settingBytes + 2);
  }
  return payload;
}
