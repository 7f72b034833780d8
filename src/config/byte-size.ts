const unitBytes: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 * 1024 };

/** Bytes of a size like `64KiB`; the schema has checked its form, anything else counts as 0. */
export function parseByteSize(text: string): number {
  const match = /^([0-9]+)(B|KiB|MiB)$/.exec(text);
  return Number(match?.[1] ?? 0) * (unitBytes[match?.[2] ?? ""] ?? 0);
}
