/** gRPC over HTTP2, "Timeout": one to eight digits and a unit. */
const pattern = /^([0-9]{1,8})([HMSmun])$/;
const maxValue = 99_999_999;

/** One unit is `ms / perMs` milliseconds: two whole numbers, so that nothing is lost to rounding. */
interface Unit {
  readonly name: string;
  readonly ms: number;
  readonly perMs: number;
}

/** From fine to coarse. */
const units: readonly Unit[] = [
  { name: "n", ms: 1, perMs: 1_000_000 },
  { name: "u", ms: 1, perMs: 1000 },
  { name: "m", ms: 1, perMs: 1 },
  { name: "S", ms: 1000, perMs: 1 },
  { name: "M", ms: 60_000, perMs: 1 },
  { name: "H", ms: 3_600_000, perMs: 1 },
];

/** Milliseconds (>= 0, with fractions) that a grpc-timeout field gives; undefined when it is malformed. */
export function parseGrpcTimeout(text: string): number | undefined {
  const [, digits, name] = pattern.exec(text) ?? [];
  const unit = units.find((candidate) => candidate.name === name);
  return unit === undefined ? undefined : (Number(digits) * unit.ms) / unit.perMs;
}

/**
 * The field value of a timeout, in the finest unit that holds it, never longer than `ms`. What has run out is told as the
 * shortest there is, because zero has no spelling (TimeoutValue is a positive integer).
 */
export function formatGrpcTimeout(ms: number): string {
  for (const unit of units) {
    const value = Math.floor((ms * unit.perMs) / unit.ms);
    if (value < 1) return "1n";
    if (value <= maxValue) return `${value}${unit.name}`;
  }
  return `${maxValue}H`;
}
