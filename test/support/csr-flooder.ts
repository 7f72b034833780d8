/**
 * A program that sends requests for certificates as fast as it is told: one JSON object in argv, one on standard output.
 * A process of its own, so that who measures the others does not wait for it.
 */
import http2 from "node:http2";
import tls from "node:tls";

export interface FloodOrder {
  /** host:port */
  readonly controlPlane: string;
  readonly csrPem: string;
  readonly token: string;
  /** Client certificate; absent for none. */
  readonly key?: { readonly keyPem: string; readonly certChainPem: string };
  readonly seconds: number;
  readonly perSecond: number;
}

export interface FloodResult {
  readonly sent: number;
  /** How often each grpc-status was answered. */
  readonly statuses: Readonly<Record<string, number>>;
}

const connections = 8;
/** What may be under way at once: beyond it the attacker only waits for itself. */
const maxUnderWay = 2000;

/** A unary gRPC message with the fields of IssueRequest. */
function message(csrPem: string, token: string): Buffer {
  const field = (id: number, text: string): Buffer => {
    const bytes = Buffer.from(text);
    return Buffer.concat([Buffer.from([(id << 3) | 2, ...varint(bytes.length)]), bytes]);
  };
  const body = Buffer.concat([field(1, csrPem), ...(token === "" ? [] : [field(2, token)])]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  for (; left > 0x7f; left >>>= 7) bytes.push((left & 0x7f) | 0x80);
  return [...bytes, left];
}

function open({ controlPlane, key }: FloodOrder): Promise<http2.ClientHttp2Session> {
  const [host = "", port = ""] = controlPlane.split(":");
  const options = {
    ...{ host, port: Number(port), ALPNProtocols: ["h2"], rejectUnauthorized: false },
    ...(key === undefined ? {} : { key: key.keyPem, cert: key.certChainPem }),
  };
  const session = http2.connect(`https://${controlPlane}`, { createConnection: () => tls.connect(options) });
  session.on("error", () => undefined);
  return new Promise((resolve) => session.once("connect", () => resolve(session)));
}

async function flood(order: FloodOrder): Promise<FloodResult> {
  const sessions = await Promise.all(Array.from({ length: connections }, () => open(order)));
  const body = message(order.csrPem, order.token);
  const statuses: Record<string, number> = {};
  let sent = 0;
  let underWay = 0;
  const send = (session: http2.ClientHttp2Session): void => {
    if (session.destroyed || session.closed) return;
    sent++;
    underWay++;
    const stream = session.request({
      ...{ ":method": "POST", ":path": "/remora.v1.Enrollment/Issue" },
      ...{ "content-type": "application/grpc", te: "trailers" },
    });
    const note = (headers: http2.IncomingHttpHeaders): void => {
      const status = headers["grpc-status"]?.toString();
      if (status !== undefined) statuses[status] = (statuses[status] ?? 0) + 1;
    };
    stream.on("response", note).on("trailers", note).resume();
    stream.on("error", () => undefined);
    stream.once("close", () => underWay--);
    stream.end(body);
  };
  const startMs = performance.now();
  const elapsedMs = (): number => performance.now() - startMs;
  while (elapsedMs() < order.seconds * 1000) {
    const due = (elapsedMs() / 1000) * order.perSecond;
    for (let n = 0; sent < due && underWay < maxUnderWay && n < 200; n++) {
      const session = sessions[sent % sessions.length];
      if (session !== undefined) send(session);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  for (const session of sessions) session.destroy();
  return { sent, statuses };
}

const [text] = process.argv.slice(2);
if (text !== undefined) process.stdout.write(JSON.stringify(await flood(JSON.parse(text) as FloodOrder)));
