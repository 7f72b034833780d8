import { messageOf } from "../errors/message-of.js";
import { ConfigError } from "../errors/config-error.js";
import { remoraMetadataKey } from "./wire.js";
import type { WireType } from "./wire.js";

/**
 * Reads a decoded message whose sender is not trusted: every access checks presence, kind and range, and a failure names
 * the path, for example `cluster api.default: circuit_breakers.thresholds[0].max_requests: missing`.
 */
export class Fields {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #place: string;
  readonly #path: string;

  /** @param place the resource; @param path where in it, "" at its root. */
  constructor(value: unknown, place: string, path = "") {
    this.#place = place;
    this.#path = path;
    if (typeof value !== "object" || value === null) throw this.error("", "not a message");
    this.#fields = value as Readonly<Record<string, unknown>>;
  }

  /** Decodes the bytes of a resource. */
  static decode(type: WireType, bytes: Buffer, place: string, path = ""): Fields {
    let message: unknown;
    try {
      message = type.decode(bytes);
    } catch (cause) {
      const text = messageOf(cause);
      const where = path === "" ? place : `${place}: ${path}`;
      throw new ConfigError(`not a ${type.typeUrl.split("/")[1]}: ${text}`, { place: where, cause });
    }
    return new Fields(message, place, path);
  }

  /** Decodes the bytes of a resource whose name is in `nameField`; errors begin with `<kind> <name>`. */
  static decodeNamed(type: WireType, bytes: Buffer, kind: string, nameField = "name"): Fields {
    const fields = Fields.decode(type, bytes, kind);
    return new Fields(fields.#fields, `${kind} ${fields.requiredString(nameField)}`);
  }

  /** What is wrong with the field, to be thrown. Names are shown as in the .proto files. */
  error(name: string, problem: string): ConfigError {
    const where = [this.#place, this.#join(name)].filter((part) => part !== "").join(": ");
    return new ConfigError(problem, { place: where });
  }

  has(name: string): boolean {
    return this.#get(name) !== undefined;
  }

  message(name: string): Fields {
    const value = this.#get(name);
    if (value === undefined) throw this.error(name, "missing");
    return new Fields(value, this.#place, this.#join(name));
  }

  optionalMessage(name: string): Fields | undefined {
    return this.has(name) ? this.message(name) : undefined;
  }

  messages(name: string): Fields[] {
    return this.#list(name).map((value, i) => new Fields(value, this.#place, `${this.#join(name)}[${i}]`));
  }

  /** The one element of a list that must have exactly one. */
  onlyMessage(name: string): Fields {
    const [first, ...rest] = this.messages(name);
    if (first === undefined || rest.length > 0) throw this.error(name, "expected exactly one");
    return first;
  }

  /** "" when absent, as in proto3. */
  string(name: string): string {
    return this.optionalString(name) ?? "";
  }

  requiredString(name: string): string {
    const value = this.string(name);
    if (value === "") throw this.error(name, "missing");
    return value;
  }

  optionalString(name: string): string | undefined {
    const value = this.#get(name);
    if (value !== undefined && typeof value !== "string") throw this.error(name, "not a string");
    return value;
  }

  strings(name: string): string[] {
    return this.#list(name).map((value) => {
      if (typeof value !== "string") throw this.error(name, "not a string");
      return value;
    });
  }

  boolean(name: string): boolean {
    return this.#get(name) === true;
  }

  /** 0 when absent, as in proto3. */
  number(name: string, min: number, max: number): number {
    return this.#inRange(name, this.#get(name) ?? 0, min, max);
  }

  integers(name: string, min: number, max: number): number[] {
    return this.#list(name).map((value) => this.#inRange(name, value, min, max));
  }

  /** google.protobuf.UInt32Value. */
  wrapped(name: string, min: number, max = 2 ** 32 - 1): number {
    return this.message(name).number("value", min, max);
  }

  /** google.protobuf.Duration in milliseconds. */
  durationMs(name: string): number {
    const duration = this.message(name);
    return (
      duration.number("seconds", 0, 315_576_000_000) * 1000 + duration.number("nanos", 0, 999_999_999) / 1e6
    );
  }

  /** Empty when absent. */
  bytes(name: string): Buffer {
    const value = this.#get(name) ?? Buffer.alloc(0);
    if (!(value instanceof Uint8Array)) throw this.error(name, "not bytes");
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }

  /** One of the names; the first is the one that an absent field stands for, if `absent` says so. */
  oneOf<T extends string>(name: string, allowed: readonly T[], absent?: T): T {
    const value = this.#get(name) ?? absent;
    const found = allowed.find((each) => each === value);
    if (found === undefined) {
      throw this.error(name, `${String(value ?? "unset")} is not one of ${allowed.join(", ")}`);
    }
    return found;
  }

  /** The message inside a google.protobuf.Any field, which must be of this type. */
  any(name: string, type: WireType): Fields {
    const any = this.message(name);
    const found = any.string("type_url");
    if (found !== type.typeUrl) throw this.error(name, `is ${found || "empty"}, expected ${type.typeUrl}`);
    return Fields.decode(type, any.bytes("value"), this.#place, this.#join(name));
  }

  /** The bytes inside a list of google.protobuf.Any, all of this type. */
  anys(name: string, typeUrl: string): Buffer[] {
    return this.messages(name).map((any) => {
      const found = any.string("type_url");
      if (found !== typeUrl) throw any.error("", `is ${found || "empty"}, expected ${typeUrl}`);
      return any.bytes("value");
    });
  }

  /** Our message in the Metadata field `metadata`. */
  metadata(type: WireType): Fields {
    return this.message("metadata").message("typedFilterMetadata").any(remoraMetadataKey, type);
  }

  #get(name: string): unknown {
    const value = Object.hasOwn(this.#fields, name) ? this.#fields[name] : undefined;
    return value ?? undefined;
  }

  #list(name: string): readonly unknown[] {
    const value = this.#get(name) ?? [];
    if (!Array.isArray(value)) throw this.error(name, "not a list");
    return value;
  }

  #inRange(name: string, value: unknown, min: number, max: number): number {
    if (typeof value !== "number" || !(value >= min && value <= max)) {
      throw this.error(name, `${String(value)} is not between ${min} and ${max}`);
    }
    return value;
  }

  #join(name: string): string {
    const snake = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    return [this.#path, snake].filter((part) => part !== "").join(".");
  }
}

/** google.protobuf.Duration. */
export function duration(ms: number): object {
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanos: Math.round((ms - seconds * 1000) * 1e6) };
}
