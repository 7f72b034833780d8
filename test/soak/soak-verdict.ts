/** What the samples of a soak say: pure, so that a test can show it samples that leak. */

export interface ProcessSample {
  readonly rssMib: number;
  readonly descriptors: number;
}

export interface SoakSample {
  /** Since the load began. */
  readonly seconds: number;
  readonly requests: number;
  readonly problems: number;
  /** Key: name of the process. */
  readonly processes: ReadonlyMap<string, ProcessSample>;
}

export interface ProcessVerdict {
  readonly name: string;
  /** Of RSS by least squares over the last two thirds, MiB per hour. */
  readonly slope: number;
  /** Its standard error. */
  readonly slopeError: number;
  readonly descriptorsBefore: number;
  readonly descriptorsAfter: number;
  /** What speaks against it; empty = nothing. */
  readonly faults: readonly string[];
}

/** 24 hours at this slope are less than half a GiB; a heap that breathes stays below it. */
export const maxSlopeMibPerHour = 20;
/** A slope counts when it is above the bound by two standard errors: then it is no noise. */
const slopeErrors = 2;
/** Shorter runs see the heap find its size, and nothing else. */
const minSlopeSeconds = 600;
/** Kept open on purpose: mesh connections, a few idle ones of the pools. */
export const spareDescriptors = 10;

/** Judges one process: `before` and `after` are its samples without load. */
export function judge(
  name: string,
  samples: readonly SoakSample[],
  before: ProcessSample,
  after: ProcessSample,
): ProcessVerdict {
  const points = samples.flatMap(({ seconds, processes }) => {
    const sample = processes.get(name);
    return sample === undefined ? [] : [{ x: seconds / 3600, y: sample.rssMib }];
  });
  const { slope, error } = leastSquares(points.slice(Math.floor(points.length / 3)));
  const isLong = (samples.at(-1)?.seconds ?? 0) >= minSlopeSeconds;
  const faults: string[] = [];
  if (isLong && slope - slopeErrors * error > maxSlopeMibPerHour)
    faults.push(`RSS grows by ${slope.toFixed(1)} MiB/h (± ${error.toFixed(1)}), over ${maxSlopeMibPerHour}`);
  if (after.descriptors > before.descriptors + spareDescriptors)
    faults.push(`${after.descriptors} descriptors without load, ${before.descriptors} before`);
  const descriptors = { descriptorsBefore: before.descriptors, descriptorsAfter: after.descriptors };
  return { name, slope, slopeError: error, ...descriptors, faults };
}

interface Point {
  readonly x: number;
  readonly y: number;
}

/** Slope of the line through the points, and its standard error; 0 and 0 for fewer than three. */
export function leastSquares(points: readonly Point[]): { readonly slope: number; readonly error: number } {
  const n = points.length;
  if (n < 3) return { slope: 0, error: 0 };
  const meanX = points.reduce((sum, { x }) => sum + x, 0) / n;
  const meanY = points.reduce((sum, { y }) => sum + y, 0) / n;
  const xx = points.reduce((sum, { x }) => sum + (x - meanX) ** 2, 0);
  const xy = points.reduce((sum, { x, y }) => sum + (x - meanX) * (y - meanY), 0);
  if (xx === 0) return { slope: 0, error: 0 };
  const slope = xy / xx;
  const rest = points.reduce((sum, { x, y }) => sum + (y - meanY - slope * (x - meanX)) ** 2, 0);
  return { slope, error: Math.sqrt(rest / (n - 2) / xx) };
}
