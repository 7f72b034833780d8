/** One side of the node:http2 pair: `node node-http2-side.js SETTINGS`, settings as JSON. */
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import type { SideSettings } from "./http-proxy-side.js";

const settings = JSON.parse(process.argv[2] ?? "{}") as SideSettings;
const identity = {
  cert: readFileSync(settings.cert),
  key: readFileSync(settings.key),
  ca: readFileSync(settings.ca),
  minVersion: "TLSv1.3",
} as const;

const isOutbound = settings.role === "outbound";
const { HTTP2_HEADER_AUTHORITY, NGHTTP2_INTERNAL_ERROR } = http2.constants;
let session: http2.ClientHttp2Session | undefined;

/** One connection to the other side carries everything, as multiplexing allows. */
function target(): http2.ClientHttp2Session {
  if (session !== undefined && !session.closed && !session.destroyed) return session;
  const to = `127.0.0.1:${settings.target}`;
  session = isOutbound
    ? // The chain is verified; an SVID has no host name that could be compared.
      http2.connect(`https://${to}`, { ...identity, checkServerIdentity: () => undefined })
    : http2.connect(`http://${to}`);
  session.on("error", () => {});
  return session;
}

function relay(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void {
  const { [HTTP2_HEADER_AUTHORITY]: _, ":scheme": __, ...rest } = headers;
  const onward = target().request(rest);
  const fail = (): void => {
    if (!stream.destroyed) stream.close(NGHTTP2_INTERNAL_ERROR);
    if (!onward.destroyed) onward.close(NGHTTP2_INTERNAL_ERROR);
  };
  stream.on("error", fail);
  onward.on("error", fail);
  onward.once("response", (reply) => {
    if (stream.destroyed) return;
    stream.respond(reply, { waitForTrailers: true });
    onward.pipe(stream);
  });
  let trailers: http2.IncomingHttpHeaders = {};
  onward.once("trailers", (received) => (trailers = received));
  stream.once("wantTrailers", () => stream.sendTrailers(trailers));
  stream.pipe(onward);
}

const server = isOutbound
  ? http2.createServer()
  : http2.createSecureServer({ ...identity, requestCert: true, rejectUnauthorized: true });
server.on("stream", relay);
server.listen(settings.port, "127.0.0.1");
