/** Cases of Http11Probe, and what we answer to them. */
export interface ProbeCase {
  readonly id: string;
  readonly status: string | null;
  readonly payload: string;
}

/** What we answer where Http11Probe leaves several answers open. Everything else is accepted. */
export const probeRefusals = new Map<string, number>([
  ["RFC9112-2.2-BARE-LF-REQUEST-LINE", 400],
  ["RFC9112-2.2-BARE-LF-HEADER", 400],
  ["RFC9112-3-MULTI-SP-REQUEST-LINE", 400],
  ["RFC9112-2.3-HTTP09-REQUEST", 400],
  ["RFC9112-2.3-INVALID-VERSION", 505],
  ["RFC9112-3.2-FRAGMENT-IN-TARGET", 400],
  ["COMP-UNKNOWN-TE-501", 501],
  ["COMP-METHOD-CASE", 501],
  ["COMP-METHOD-CONNECT", 501],
  ["COMP-METHOD-TRACE", 501],
  ["COMP-TRACE-WITH-BODY", 501],
  ["COMP-TRACE-SENSITIVE", 501],
  ["COMP-EXPECT-UNKNOWN", 417],
  ["COMP-REQUEST-LINE-TAB", 400],
  ["COMP-HTTP12-VERSION", 505],
  ["SMUG-TE-XCHUNKED", 400],
  ["SMUG-TE-TRAILING-SPACE", 400],
  ["SMUG-TE-DOUBLE-CHUNKED", 400],
  ["SMUG-TE-CASE-MISMATCH", 400],
  ["SMUG-TE-LEADING-COMMA", 400],
  ["SMUG-TE-IDENTITY", 400],
  ["SMUG-TRANSFER_ENCODING", 400],
  ["SMUG-CL-COMMA-SAME", 400],
  ["SMUG-CL-COMMA-TRIPLE", 400],
  ["SMUG-CHUNKED-WITH-PARAMS", 400],
  ["SMUG-TE-OBS-FOLD", 400],
  ["SMUG-TE-TRAILING-COMMA", 400],
  ["SMUG-TE-TAB-BEFORE-VALUE", 400],
  ["MAL-WHITESPACE-ONLY-LINE", 400],
  ["MAL-H2-PREFACE", 505],
  ["NORM-UNDERSCORE-CL", 400],
  ["NORM-SP-BEFORE-COLON-CL", 400],
  ["NORM-TAB-IN-NAME", 400],
  ["NORM-CASE-TE", 400],
  ["NORM-UNDERSCORE-TE", 400],
]);

/** A case's payload as bytes. */
export function decodeProbe(payload: string): Buffer {
  const text = payload.replaceAll("{ctx.HostHeader}", "a.test:8080");
  const decoded = text.replace(/\\(.)/g, (whole, escape: string) => {
    const byte = { r: "\r", n: "\n", t: "\t", "0": "\0", "\\": "\\", '"': '"' }[escape];
    if (byte === undefined) throw new Error(`unknown escape ${whole}`);
    return byte;
  });
  return Buffer.from(decoded, "latin1");
}
