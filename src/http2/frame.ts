/** Frame types (RFC 9113 §6). */
export const frameType = {
  data: 0x0,
  headers: 0x1,
  priority: 0x2,
  rstStream: 0x3,
  settings: 0x4,
  pushPromise: 0x5,
  ping: 0x6,
  goaway: 0x7,
  windowUpdate: 0x8,
  continuation: 0x9,
} as const;

/** Frame flags (RFC 9113 §6). */
export const frameFlag = {
  none: 0x0,
  endStream: 0x1,
  ack: 0x1,
  endHeaders: 0x4,
  padded: 0x8,
  priority: 0x20,
} as const;

/** Error codes of RST_STREAM and GOAWAY (RFC 9113 §7). */
export const errorCode = {
  noError: 0x0,
  protocolError: 0x1,
  internalError: 0x2,
  flowControlError: 0x3,
  settingsTimeout: 0x4,
  streamClosed: 0x5,
  frameSizeError: 0x6,
  refusedStream: 0x7,
  cancel: 0x8,
  compressionError: 0x9,
  connectError: 0xa,
  enhanceYourCalm: 0xb,
  inadequateSecurity: 0xc,
  http11Required: 0xd,
} as const;

/** Length of the head of every frame (RFC 9113 §4.1). */
export const frameHeadBytes = 9;
/** Payload that every peer must accept, and the most we send in one frame (RFC 9113 §4.2). */
export const defaultFrameBytes = 16_384;
/** Flow-control window of the connection, and of a stream without SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.9.2). */
export const defaultWindowBytes = 65_535;
/** Largest flow-control window, and largest stream id (RFC 9113 §6.9.1, §5.1.1). */
export const maxWindowBytes = 2 ** 31 - 1;
export const maxStreamId = 2 ** 31 - 1;

/** What a client says first (RFC 9113 §3.4). */
export const clientPreface: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

const names = Object.entries(errorCode);

/** The name of an error code for texts: `CANCEL`, or its number when it has none. */
export function errorCodeName(code: number): string {
  const name = names.find(([, value]) => value === code)?.[0];
  return name === undefined ? String(code) : name.replace(/[A-Z]/g, "_$&").toUpperCase();
}
