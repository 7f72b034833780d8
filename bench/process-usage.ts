import { readFileSync } from "node:fs";

/** Clock ticks per second of /proc/<pid>/stat: USER_HZ is 100 on every Linux that Node runs on (proc(5)). */
const ticksPerSecond = 100;
const microsecondsPerTick = 1_000_000 / ticksPerSecond;

/** What a process and its children use. Memory pages that they share count once for each of them. */
export interface ProcessUsage {
  /** User and system time since the start, microseconds, in steps of 10 ms. */
  readonly cpuUs: number;
  /** VmRSS. */
  readonly rssBytes: number;
  /** VmHWM: the most that VmRSS ever was. */
  readonly peakRssBytes: number;
}

/** Throws when the process is gone. */
export function processUsage(pid: number): ProcessUsage {
  const own = usageOf(pid);
  return childrenOf(pid).map(processUsage).reduce(sum, own);
}

function sum(a: ProcessUsage, b: ProcessUsage): ProcessUsage {
  return {
    cpuUs: a.cpuUs + b.cpuUs,
    rssBytes: a.rssBytes + b.rssBytes,
    peakRssBytes: a.peakRssBytes + b.peakRssBytes,
  };
}

function usageOf(pid: number): ProcessUsage {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return {
    cpuUs: cpuTicks(readFileSync(`/proc/${pid}/stat`, "utf8")) * microsecondsPerTick,
    rssBytes: statusBytes(status, "VmRSS"),
    peakRssBytes: statusBytes(status, "VmHWM"),
  };
}

/** utime + stime of /proc/<pid>/stat, fields 14 and 15 of proc(5); the name in parentheses may hold spaces and parentheses. */
export function cpuTicks(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  // The first field after the name is number 3.
  return Number(fields[14 - 3]) + Number(fields[15 - 3]);
}

/** A line `VmRSS:   1234 kB` of /proc/<pid>/status, in bytes; 0 when the line is missing. */
export function statusBytes(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0) * 1024;
}

/** User and system time of a process and of each of its children, by process id. */
export function cpuByProcess(pid: number): ReadonlyMap<number, number> {
  const all = (root: number): readonly number[] => [root, ...childrenOf(root).flatMap(all)];
  return new Map(all(pid).map((each) => [each, usageOf(each).cpuUs]));
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return text === "" ? [] : text.split(" ").map(Number);
}
