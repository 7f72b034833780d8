/**
 * A gRPC service that does what its callers wish, as server and as client of @grpc/grpc-js; grpc_peer.py is the same in Python.
 * Messages are raw bytes. Unary and Duplex echo, ServerStream sends many, ClientStream replies with a summary. Wishes are
 * metadata of the call:
 *
 *     want-status, want-message    how it ends, once it has read (and echoed, streamed) everything
 *     want-message-bin             the same, any UTF-8
 *     want-count, want-size        ServerStream: messages (default 1) and bytes of each (default: the request's message)
 *     want-headers                 initial metadata at once
 *     want-silence                 never ends by itself
 *     want-pushback                grpc-retry-pushback-ms in the trailers
 *     fail-first, call-key         want-status holds only for the first N calls with this key
 *     echo-*, trail-*              come back as initial metadata, as trailers
 *
 * Trailers tell `seen-deadline-ms`: what was left of the deadline when the call arrived. The server also answers gRPC's health
 * checks (grpc.health.v1), one by one and as a stream.
 */
import {
  Client,
  Metadata,
  Server,
  ServerCredentials,
  credentials,
  status as grpcStatus,
  type ChannelOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type StatusObject,
} from "@grpc/grpc-js";
import { createHash } from "node:crypto";
import type { EventEmitter } from "node:events";

export type EchoMethod = "Unary" | "ServerStream" | "ClientStream" | "Duplex";

export const echoService = "remora.test.Echo";

const bytes = (message: Buffer): Buffer => message;
const method = (name: EchoMethod, requestStream: boolean, responseStream: boolean) => ({
  path: `/${echoService}/${name}`,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});
const definition = {
  Unary: method("Unary", false, false),
  ServerStream: method("ServerStream", false, true),
  ClientStream: method("ClientStream", true, false),
  Duplex: method("Duplex", true, true),
} satisfies ServiceDefinition;

/** https://github.com/grpc/grpc/blob/master/doc/health-checking.md */
export const healthService = "grpc.health.v1.Health";
/** HealthCheckResponse{status}: SERVING is 1, NOT_SERVING is 2. */
const healthMessage = (isServing: boolean): Buffer => Buffer.from([0x08, isServing ? 1 : 2]);
const healthDefinition = {
  Check: { ...method("Unary", false, false), path: `/${healthService}/Check` },
  Watch: { ...method("ServerStream", false, true), path: `/${healthService}/Watch` },
} satisfies ServiceDefinition;

const unlimited: ChannelOptions = {
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
};

/** One call as the server sees it. */
export interface SeenCall {
  readonly method: EchoMethod;
  readonly metadata: Metadata;
  /** Left when it arrived; undefined without a deadline. */
  readonly deadlineMs: number | undefined;
  /** Messages received. */
  count: number;
  outcome: "running" | "done" | "cancelled";
}

type AnyServerCall =
  | ServerUnaryCall<Buffer, Buffer>
  | ServerReadableStream<Buffer, Buffer>
  | ServerWritableStream<Buffer, Buffer>
  | ServerDuplexStream<Buffer, Buffer>;

/** The service on 127.0.0.1, without TLS. */
export class GrpcEchoServer {
  /** In the order they arrived. */
  readonly calls: SeenCall[] = [];
  readonly #server = new Server(unlimited);
  /** Key: call-key; value: calls that have failed on wish. */
  readonly #failures = new Map<string, number>();
  readonly #watchers = new Set<ServerWritableStream<Buffer, Buffer>>();
  #isServing = true;
  port = 0;

  static async start(port = 0): Promise<GrpcEchoServer> {
    const made = new GrpcEchoServer();
    const server = made.#server;
    server.addService(definition, made.#handlers());
    server.addService(healthDefinition, made.#healthHandlers());
    made.port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    return made;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Watches of the service's health that are open. */
  get watchers(): number {
    return this.#watchers.size;
  }

  /** What health checks are told from now on, those under way too. At first true. */
  setServing(isServing: boolean): void {
    this.#isServing = isServing;
    for (const watcher of this.#watchers) watcher.write(healthMessage(isServing));
  }

  /** Finishes the calls under way, after GOAWAY. */
  drain(): Promise<void> {
    return new Promise((resolve) => this.#server.tryShutdown(() => resolve()));
  }

  /** Ends every call now. */
  close(): void {
    this.#server.forceShutdown();
  }

  #handlers() {
    return {
      Unary: (call: ServerUnaryCall<Buffer, Buffer>, reply: UnaryReply) => {
        const seen = this.#arrived("Unary", call);
        seen.count = 1;
        this.#finish(seen, (error, trailers) => reply(error, call.request, trailers));
      },
      ClientStream: (call: ServerReadableStream<Buffer, Buffer>, reply: UnaryReply) => {
        const seen = this.#arrived("ClientStream", call);
        const digest = createHash("sha256");
        let size = 0;
        call.on("data", (message: Buffer) => {
          seen.count++;
          size += message.length;
          digest.update(message);
        });
        call.on("end", () => {
          const summary = Buffer.from(`${seen.count} ${size} ${digest.digest("hex")}`);
          this.#finish(seen, (error, trailers) => reply(error, summary, trailers));
        });
      },
      ServerStream: (call: ServerWritableStream<Buffer, Buffer>) => {
        const seen = this.#arrived("ServerStream", call);
        seen.count = 1;
        void this.#stream(seen, call);
      },
      Duplex: (call: ServerDuplexStream<Buffer, Buffer>) => {
        const seen = this.#arrived("Duplex", call);
        call.on("data", (message: Buffer) => {
          seen.count++;
          if (call.write(message)) return;
          call.pause();
          call.once("drain", () => call.resume());
        });
        call.on("end", () => this.#finishStream(seen, call));
      },
    };
  }

  #healthHandlers() {
    return {
      Check: (_: ServerUnaryCall<Buffer, Buffer>, reply: UnaryReply) =>
        reply(null, healthMessage(this.#isServing), new Metadata()),
      Watch: (call: ServerWritableStream<Buffer, Buffer>) => {
        this.#watchers.add(call);
        call.once("cancelled", () => this.#watchers.delete(call));
        call.write(healthMessage(this.#isServing));
      },
    };
  }

  #arrived(name: EchoMethod, call: AnyServerCall): SeenCall {
    const deadline = call.getDeadline();
    const atMs = deadline instanceof Date ? deadline.getTime() : deadline;
    const seen: SeenCall = {
      method: name,
      metadata: call.metadata,
      deadlineMs: atMs === Infinity ? undefined : atMs - Date.now(),
      count: 0,
      outcome: "running",
    };
    this.calls.push(seen);
    const events: EventEmitter = call;
    events.on("cancelled", () => {
      if (seen.outcome === "running") seen.outcome = "cancelled";
    });
    events.on("error", () => undefined); // the caller's end of a call that was cut
    const echoed = withPrefix(call.metadata, "echo-");
    if (wish(seen, "want-headers") !== undefined || Object.keys(echoed.getMap()).length > 0)
      call.sendMetadata(echoed);
    return seen;
  }

  async #stream(seen: SeenCall, call: ServerWritableStream<Buffer, Buffer>): Promise<void> {
    const count = Number(wish(seen, "want-count") ?? 1);
    const size = wish(seen, "want-size");
    const message = size === undefined ? call.request : patternOf(Number(size));
    const cancelled = new Promise((resolve) => call.once("cancelled", resolve));
    for (let i = 0; i < count && seen.outcome === "running"; i++) {
      if (!call.write(message))
        await Promise.race([new Promise((resolve) => call.once("drain", resolve)), cancelled]);
    }
    this.#finishStream(seen, call);
  }

  #finishStream(
    seen: SeenCall,
    call: ServerWritableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>,
  ): void {
    this.#finish(seen, (error, trailers) => {
      if (error === null) call.end(trailers);
      else call.emit("error", error);
    });
  }

  #finish(seen: SeenCall, end: (error: Partial<StatusObject> | null, trailers: Metadata) => void): void {
    if (seen.outcome !== "running" || wish(seen, "want-silence") !== undefined) return;
    seen.outcome = "done";
    const trailers = withPrefix(seen.metadata, "trail-");
    if (seen.deadlineMs !== undefined) trailers.set("seen-deadline-ms", String(Math.round(seen.deadlineMs)));
    const pushback = wish(seen, "want-pushback");
    if (pushback !== undefined) trailers.set("grpc-retry-pushback-ms", pushback);
    const code = Number(wish(seen, "want-status") ?? 0);
    if (code === 0 || !this.#stillFails(seen)) return end(null, trailers);
    end(
      {
        code,
        details: wish(seen, "want-message") ?? wish(seen, "want-message-bin") ?? "",
        metadata: trailers,
      },
      trailers,
    );
  }

  #stillFails(seen: SeenCall): boolean {
    const first = wish(seen, "fail-first");
    if (first === undefined) return true;
    const key = wish(seen, "call-key") ?? "";
    const failed = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failed);
    return failed <= Number(first);
  }
}

type UnaryReply = (error: Partial<StatusObject> | null, message: Buffer, trailers: Metadata) => void;

export interface EchoOptions {
  /** Keys that end in `-bin` take bytes. */
  readonly metadata?: Readonly<Record<string, string | Buffer>>;
  /** From now on; without it the call has no deadline. */
  readonly deadlineMs?: number;
  /** Cancels the call when so many messages have come. */
  readonly cancelAfter?: number;
  /** Duplex: the next message is sent when the echo of the last has come. */
  readonly isInStep?: boolean;
}

/** How a call ended; never an exception. */
export interface EchoOutcome {
  /** 0 = OK. */
  readonly status: number;
  readonly details: string;
  readonly headers: Metadata | undefined;
  readonly trailers: Metadata;
  readonly messages: readonly Buffer[];
}

export interface EchoCall {
  readonly outcome: Promise<EchoOutcome>;
  /** Messages so far. */
  readonly messages: readonly Buffer[];
  cancel(): void;
}

/** A client of the service, over one HTTP/2 connection of its own. */
export class GrpcEchoClient {
  readonly #client: Client;

  /** `authority` in place of the address: which service is meant, on a port that routes by host. */
  constructor(address: string, authority?: string) {
    this.#client = new Client(address, credentials.createInsecure(), {
      ...unlimited,
      // Retries are the mesh's here, and connections are not shared with other clients.
      "grpc.enable_retries": 0,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_http_proxy": 0,
      ...(authority === undefined ? {} : { "grpc.default_authority": authority }),
    });
  }

  /** One call to its end. Unary and ServerStream send the first of `sent`. */
  call(name: EchoMethod, sent: readonly Buffer[] = [], options: EchoOptions = {}): Promise<EchoOutcome> {
    return this.start(name, sent, options).outcome;
  }

  /** grpc.health.v1: is the service serving? Rejects when the check fails. */
  check(): Promise<boolean> {
    const { path } = healthDefinition.Check;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(path, bytes, bytes, Buffer.alloc(0), (error, message) => {
        if (message === undefined) reject(error ?? new Error("neither a message nor an error"));
        else resolve(message[1] === 1);
      });
    });
  }

  /** Adds to `seen` what the service says about its health, until it is cancelled. */
  watch(seen: boolean[]): { cancel(): void } {
    const { path } = healthDefinition.Watch;
    const call = this.#client.makeServerStreamRequest(path, bytes, bytes, Buffer.alloc(0));
    call.on("error", () => undefined); // its cancel
    return call.on("data", (message: Buffer) => seen.push(message[1] === 1));
  }

  start(name: EchoMethod, sent: readonly Buffer[] = [], options: EchoOptions = {}): EchoCall {
    const metadata = new Metadata();
    for (const [key, value] of Object.entries(options.metadata ?? {})) metadata.set(key, value);
    const { path } = definition[name];
    const deadline = options.deadlineMs === undefined ? {} : { deadline: Date.now() + options.deadlineMs };
    const first = sent[0] ?? Buffer.alloc(0);
    const messages: Buffer[] = [];
    const take = (message: Buffer): void => {
      messages.push(message);
      if (messages.length === options.cancelAfter) call.cancel();
    };
    // The status event tells more than the callback's error does.
    const answered = (_: unknown, message?: Buffer): void => {
      if (message !== undefined) take(message);
    };
    const client = this.#client;
    let call: ClientUnaryCall | ClientReadableStream<Buffer>;
    if (name === "Unary") {
      call = client.makeUnaryRequest(path, bytes, bytes, first, metadata, deadline, answered);
    } else if (name === "ClientStream") {
      const stream = client.makeClientStreamRequest(path, bytes, bytes, metadata, deadline, answered);
      void upload(stream, sent);
      call = stream;
    } else if (name === "ServerStream") {
      const download = client.makeServerStreamRequest(path, bytes, bytes, first, metadata, deadline);
      call = download.on("data", take);
    } else {
      const both = client.makeBidiStreamRequest(path, bytes, bytes, metadata, deadline);
      let at = 0;
      const next = (): void => {
        const message = sent[at++];
        if (message === undefined) both.end();
        else both.write(message);
      };
      both.on("data", (message: Buffer) => {
        take(message);
        if (options.isInStep === true) next();
      });
      if (options.isInStep === true) next();
      else void upload(both, sent);
      call = both;
    }
    const running = call;
    return { outcome: outcomeOf(running, messages), messages, cancel: () => running.cancel() };
  }

  close(): void {
    this.#client.close();
  }
}

async function upload(
  call: Pick<ClientWritableStream<Buffer>, "write" | "end" | "once" | "on">,
  sent: readonly Buffer[],
): Promise<void> {
  let isOver = false;
  const over = new Promise<void>((resolve) => {
    call.on("status", () => {
      isOver = true;
      resolve();
    });
  });
  for (const message of sent) {
    if (isOver) return;
    if (call.write(message)) continue;
    await Promise.race([new Promise((resolve) => void call.once("drain", resolve)), over]);
  }
  call.end();
}

function outcomeOf(
  call: ClientUnaryCall | ClientReadableStream<Buffer>,
  messages: readonly Buffer[],
): Promise<EchoOutcome> {
  const events: EventEmitter = call;
  return new Promise((resolve) => {
    let headers: Metadata | undefined;
    events.on("metadata", (metadata: Metadata) => (headers = metadata));
    events.on("error", () => undefined); // the status says it better
    events.on("status", ({ code, details, metadata }: StatusObject) => {
      // A unary call's message is handed over right after its status.
      setImmediate(() => resolve({ status: code, details, headers, trailers: metadata, messages }));
    });
  });
}

/** `status.UNAVAILABLE` and so on, by number, for texts. */
export function statusName(code: number): string {
  return grpcStatus[code] ?? String(code);
}

/** What want-size sends: bytes 0, 1, 2 ... 255, 0 ... */
export function patternOf(size: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: size }, (_, i) => i & 0xff));
}

function wish({ metadata }: SeenCall, key: string): string | undefined {
  return metadata.get(key)[0]?.toString();
}

function withPrefix(metadata: Metadata, prefix: string): Metadata {
  const found = new Metadata();
  for (const key of Object.keys(metadata.getMap()))
    if (key.startsWith(prefix)) for (const value of metadata.get(key)) found.add(key, value);
  return found;
}
