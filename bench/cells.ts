/** How figures are written in the tables. */

export function ratioText(value: number | undefined): string {
  return value === undefined ? "-" : `${value.toFixed(2)}x`;
}

export function whole(value: number): string {
  return String(Math.round(value));
}

export function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}

/** Megabytes of 10^6 bytes, as the targets for memory mean them. */
export function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
