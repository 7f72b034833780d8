/** The outcome of an execution as it is kept for requests of the same key. */
export interface StoredReply {
  /** operationOf the request. */
  readonly operation: string;
  /** BodyDigest of the request; null: it was answered before its body had come. */
  readonly digest: string | null;
  /** With which limit the digest was made. */
  readonly digestBytes: number;
  readonly status: number;
  /** End-to-end fields, flat [name, value, ...]. */
  readonly headers: readonly string[];
  /** null: it was too long to be kept. */
  readonly body: Buffer | null;
}

const version = 1;

/** One buffer, whatever keeps it: four bytes that tell the length of the JSON after them, then the body. */
export function encodeStoredReply({ body, ...rest }: StoredReply): Buffer {
  const json = Buffer.from(JSON.stringify({ version, hasBody: body !== null, ...rest }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(json.length);
  return Buffer.concat(body === null ? [length, json] : [length, json, body]);
}

/** undefined: it was not written by this version. */
export function decodeStoredReply(bytes: Buffer): StoredReply | undefined {
  if (bytes.length < 4) return undefined;
  const end = 4 + bytes.readUInt32BE();
  if (bytes.length < end) return undefined;
  try {
    const parsed = JSON.parse(bytes.toString("utf8", 4, end)) as StoredReply & {
      readonly version: number;
      readonly hasBody: boolean;
    };
    if (parsed.version !== version) return undefined;
    const { operation, digest, digestBytes, status, headers, hasBody } = parsed;
    return { operation, digest, digestBytes, status, headers, body: hasBody ? bytes.subarray(end) : null };
  } catch {
    return undefined;
  }
}
