/** Requests of every kind, each with a nonce of its own, and whether the answer was the right one. */
import http from "node:http";
import http2, { type ClientHttp2Session } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import { GrpcEchoClient } from "./grpc-peers.js";
import { bodyOf, digestOf } from "./mixed-apps.js";
import { seeded } from "./seeded-random.js";

export interface MixedTarget {
  /** Where to reach the service from here: local ports of a sidecar. */
  readonly port: number;
  /** What its application can do beside HTTP. */
  readonly speaks: "webSocket" | "grpc";
}

export type RequestKind = "http1" | "http2" | "cancel" | "early" | "webSocket" | "grpc" | "fault";

export interface TrafficOptions {
  readonly targets: readonly MixedTarget[];
  readonly seed: number;
  /** Of requests, ratio 0..1: the application resets or closes. */
  readonly faults?: number;
  /** Of requests, ratio 0..1: on a connection of their own, or the last on one. */
  readonly churn?: number;
}

/** What was sent and must be accounted for. */
export interface SentRequest {
  readonly nonce: string;
  readonly kind: RequestKind;
  readonly target: number;
  readonly method: string;
}

const maxBodyBytes = 64 * 1024;
const answerMs = 30_000;
const sessionsPerTarget = 3;

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
  readonly trailers: NodeJS.Dict<string | string[]>;
}

/** A request under way is told from outside to give up. */
interface Exchange {
  readonly answer: Promise<Answer>;
  cancel(): void;
}

interface Outgoing {
  readonly method: string;
  readonly path: string;
  readonly nonce: string;
  readonly body: Buffer | undefined;
  readonly isChunked: boolean;
  readonly hasTrailers: boolean;
}

export class MixedTraffic {
  /** One line for everything that must not be. */
  readonly problems: string[] = [];
  readonly sent: SentRequest[] = [];
  readonly counts = new Map<RequestKind, number>();
  done = 0;
  readonly #options: TrafficOptions;
  readonly #random: () => number;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 200, timeout: answerMs });
  readonly #sessions = new Map<string, ClientHttp2Session>();
  readonly #grpc = new Map<number, GrpcEchoClient>();
  #next = 0;

  constructor(options: TrafficOptions) {
    this.#options = options;
    this.#random = seeded(options.seed);
  }

  /** Sends `count` requests, `concurrency` at a time. */
  async run(count: number, concurrency: number): Promise<void> {
    let left = count;
    const worker = async (): Promise<void> => {
      while (left-- > 0) await this.one();
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
  }

  /** One request of a random kind, to its end. Never rejects: what went wrong is in `problems`. */
  async one(): Promise<void> {
    const n = this.#next++;
    const index = this.#below(this.#options.targets.length);
    const target = this.#options.targets[index] as MixedTarget;
    const kind = this.#kind(target);
    const method =
      kind === "http1" || kind === "http2"
        ? (["GET", "POST", "POST", "HEAD"][this.#below(4)] as string)
        : "POST";
    const nonce = `n${this.#options.seed}-${n}-${kind}`;
    this.sent.push({ nonce, kind, target: index, method });
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    try {
      if (kind === "webSocket") await this.#webSocket(target, nonce);
      else if (kind === "grpc") await this.#call(target, nonce);
      else await this.#http(target, kind, method, nonce);
    } catch (error: unknown) {
      this.problems.push(
        `${nonce} ${method} of ${target.port}: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
    this.done++;
  }

  /** Closes the connections that are kept: the next request opens new ones. */
  async reconnect(): Promise<void> {
    this.#agent.destroy();
    for (const client of this.#grpc.values()) client.close();
    this.#grpc.clear();
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    await Promise.all(
      sessions.map(
        (session) => new Promise<void>((resolve) => (session.destroyed ? resolve() : session.close(resolve))),
      ),
    );
  }

  #below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  #kind({ speaks }: MixedTarget): RequestKind {
    const at = this.#random();
    if (at < (this.#options.faults ?? 0)) return "fault";
    const dice = this.#random();
    if (dice < 0.05) return "cancel";
    if (dice < 0.08) return "early";
    if (dice < 0.25) return speaks;
    return dice < 0.65 ? "http1" : "http2";
  }

  #churns(): boolean {
    return this.#random() < (this.#options.churn ?? 0);
  }

  #size(): number {
    const dice = this.#random();
    return dice < 0.2 ? 0 : dice < 0.8 ? this.#below(2000) : this.#below(maxBodyBytes);
  }

  async #http(target: MixedTarget, kind: RequestKind, method: string, nonce: string): Promise<void> {
    const body = method === "POST" ? bodyOf(`${nonce} up`, this.#size()) : undefined;
    // A response that is to be cut off needs something to lose.
    const size = this.#size() + (kind === "fault" ? 1000 : 0);
    const [isChunked, wantsTrailers] = [this.#random() < 0.5, this.#random() < 0.2];
    const wishes = [`size=${size}`, isChunked ? "chunked=1" : "", wantsTrailers ? "trailers=1" : ""];
    if (kind === "early") wishes.push("early=1");
    if (kind === "fault") wishes.push(this.#random() < 0.5 ? "fault=reset" : "fault=close");
    const outgoing: Outgoing = {
      ...{ method, nonce, body, path: `/x?${wishes.filter((wish) => wish !== "").join("&")}` },
      isChunked: body !== undefined && this.#random() < 0.5,
      hasTrailers: body !== undefined && this.#random() < 0.3,
    };
    const isHttp2 = kind === "http2" || (kind !== "http1" && this.#random() < 0.5);
    const exchange = isHttp2 ? this.#send2(target, outgoing) : this.#send1(target, outgoing);
    if (kind === "cancel") {
      exchange.answer.catch(() => undefined);
      await sleep(this.#below(8));
      exchange.cancel();
      await exchange.answer.catch(() => undefined);
      return;
    }
    if (kind === "fault") {
      // Cut short by the application: an error, or the error reply of a sidecar; never another request's answer.
      const answer = await exchange.answer.catch(() => undefined);
      if (answer?.status === 200) throw new Error("a whole response from an application that reset it");
      if (answer !== undefined && answer.headers["x-remora-error"] === undefined)
        throw new Error(`status ${answer.status}`);
      return;
    }
    const answer = await exchange.answer;
    if (answer.headers["x-nonce"] !== nonce)
      throw new Error(
        `answered for ${String(answer.headers["x-nonce"])}: ${answer.status} ${answer.body.toString("latin1", 0, 200)}`,
      );
    if (kind === "early") return expect(answer.status, 413, "status");
    expect(answer.status, 200, "status");
    expect(answer.headers["x-digest"], digestOf(body ?? Buffer.alloc(0)), "digest of what it got");
    expect(answer.headers["x-method"], method, "method");
    const wanted = method === "HEAD" ? Buffer.alloc(0) : bodyOf(nonce, size);
    if (!answer.body.equals(wanted))
      throw new Error(`body of ${answer.body.length} bytes, not the ${wanted.length} it asked for`);
    if (outgoing.hasTrailers && (outgoing.isChunked || isHttp2))
      expect(answer.headers["x-sum"], nonce, "trailer of the request");
    if (wantsTrailers && method !== "HEAD")
      expect(answer.trailers["x-end"], nonce, "trailer of the response");
  }

  #send1({ port }: MixedTarget, { method, path, nonce, body, isChunked, hasTrailers }: Outgoing): Exchange {
    const request = http.request({
      ...{
        host: "127.0.0.1",
        port,
        method,
        path,
        agent: this.#churns() ? false : this.#agent,
        timeout: answerMs,
      },
      headers: {
        "x-nonce": nonce,
        ...(body === undefined || isChunked ? {} : { "content-length": body.length }),
        ...(isChunked ? { "transfer-encoding": "chunked" } : {}),
      },
    });
    const answer = new Promise<Answer>((resolve, reject) => {
      request.on("error", reject);
      request.on("timeout", () => request.destroy(new Error(`no answer in ${answerMs} ms`)));
      request.on("response", (response) => {
        const parts: Buffer[] = [];
        response.on("data", (part: Buffer) => parts.push(part));
        response.on("error", reject);
        response.on("end", () => {
          const { statusCode: status = 0, headers, trailers } = response;
          resolve({ status, headers, trailers, body: Buffer.concat(parts) });
        });
      });
    });
    if (body !== undefined) request.write(body.subarray(0, body.length >> 1));
    if (isChunked && hasTrailers) request.addTrailers({ "x-sum": nonce });
    request.end(body?.subarray(body.length >> 1));
    return { answer, cancel: () => request.destroy() };
  }

  #send2(target: MixedTarget, { method, path, nonce, body, hasTrailers }: Outgoing): Exchange {
    const session = this.#session(target);
    const stream = session.request(
      { ":method": method, ":path": path, ":authority": `127.0.0.1:${target.port}`, "x-nonce": nonce },
      { endStream: body === undefined, waitForTrailers: hasTrailers },
    );
    const answer = new Promise<Answer>((resolve, reject) => {
      const parts: Buffer[] = [];
      let head: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader = {};
      let trailers: NodeJS.Dict<string | string[]> = {};
      stream.setTimeout(answerMs, () => stream.destroy(new Error(`no answer in ${answerMs} ms`)));
      stream.on("response", (fields) => (head = fields));
      stream.on("trailers", (fields) => (trailers = fields));
      stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": nonce }));
      stream.on("data", (part: Buffer) => parts.push(part));
      stream.on("error", reject);
      stream.on("close", () => {
        if (stream.rstCode !== 0) return reject(new Error(`stream reset with ${stream.rstCode}`));
        resolve({ status: head[":status"] ?? 0, headers: head, trailers, body: Buffer.concat(parts) });
      });
    });
    if (body !== undefined) {
      stream.write(body.subarray(0, body.length >> 1));
      stream.end(body.subarray(body.length >> 1));
    }
    // Takes no further streams; those under way go on, unless it is not connected yet.
    if (this.#churns() && !session.connecting) session.close();
    return { answer, cancel: () => stream.close(http2.constants.NGHTTP2_CANCEL) };
  }

  #session({ port }: MixedTarget): ClientHttp2Session {
    const key = `${port} ${this.#below(sessionsPerTarget)}`;
    const known = this.#sessions.get(key);
    if (known !== undefined && !known.closed && !known.destroyed) return known;
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.on("error", (error) => void this.problems.push(`session to ${port}: ${error.message}`));
    this.#sessions.set(key, session);
    return session;
  }

  async #webSocket({ port }: MixedTarget, nonce: string): Promise<void> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`, {
      headers: { "x-nonce": nonce },
      handshakeTimeout: answerMs,
    });
    try {
      const messages = Array.from({ length: 1 + this.#below(4) }, (_, i) =>
        bodyOf(`${nonce} ${i}`, this.#size()),
      );
      await new Promise<void>((resolve, reject) => {
        let at = 0;
        const timer = setTimeout(() => reject(new Error(`no echo in ${answerMs} ms`)), answerMs);
        socket.on("open", () => socket.send(messages[0] as Buffer));
        socket.on("message", (data: Buffer) => {
          const wanted = Buffer.concat([Buffer.from(`${nonce}:`), messages[at] as Buffer]);
          if (!data.equals(wanted))
            reject(new Error(`another message than its own: ${data.toString("latin1", 0, 60)}`));
          const next = messages[++at];
          if (next === undefined) socket.close(1000);
          else socket.send(next);
        });
        socket.on("error", reject);
        socket.on("close", (code) => {
          clearTimeout(timer);
          if (at === messages.length && code === 1000) resolve();
          else reject(new Error(`closed with ${code} after ${at} of ${messages.length} messages`));
        });
      });
    } finally {
      socket.terminate();
    }
  }

  async #call({ port }: MixedTarget, nonce: string): Promise<void> {
    let client = this.#grpc.get(port);
    if (client === undefined) this.#grpc.set(port, (client = new GrpcEchoClient(`127.0.0.1:${port}`)));
    const isUnary = this.#random() < 0.6;
    const messages = Array.from({ length: isUnary ? 1 : 1 + this.#below(5) }, (_, i) =>
      bodyOf(`${nonce} ${i}`, this.#size()),
    );
    const metadata = { "x-nonce": nonce };
    const outcome = await client.call(isUnary ? "Unary" : "Duplex", messages, {
      metadata,
      deadlineMs: answerMs,
    });
    expect(`${outcome.status} ${outcome.details}`, "0 ", "gRPC status");
    expect(outcome.headers?.get("x-nonce")[0], nonce, "nonce");
    expect(outcome.messages.length, messages.length, "messages");
    for (const [i, message] of messages.entries())
      if (outcome.messages[i]?.equals(message) !== true) throw new Error(`message ${i} is another one`);
  }
}

function expect(actual: unknown, wanted: unknown, what: string): void {
  if (actual !== wanted) throw new Error(`${what}: ${String(actual)}, not ${String(wanted)}`);
}
