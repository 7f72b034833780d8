/** Whether a table of this many entries can be filled by steps of any length. */
export function isPrime(value: number): boolean {
  for (let divisor = 2; divisor * divisor <= value; divisor++) if (value % divisor === 0) return false;
  return value > 1;
}

/** The least prime that is not below `from`. */
export function nextPrime(from: number): number {
  let value = from;
  while (!isPrime(value)) value++;
  return value;
}
