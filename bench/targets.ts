import type { Figures } from "./figures.js";
import { figuresOf, type Row, type TargetResult } from "./report.js";

interface Target {
  readonly what: string;
  readonly against: string;
  readonly most: number;
  readonly figure: (figures: Figures) => number;
}

const outboundCpu = ({ outbound }: Figures): number => outbound.cpuUsPerRequest;
const inboundCpu = ({ inbound }: Figures): number => inbound.cpuUsPerRequest;

/** What Remora aims at with an HTTP/1.1 hop between its sidecars. */
const targets: readonly Target[] = [
  { what: "CPU per request, outbound", against: "HAProxy", most: 1.6, figure: outboundCpu },
  { what: "CPU per request, inbound", against: "HAProxy", most: 1.6, figure: inboundCpu },
  { what: "CPU per request, outbound", against: "http-proxy", most: 0.4, figure: outboundCpu },
  { what: "CPU per request, inbound", against: "http-proxy", most: 0.4, figure: inboundCpu },
  {
    what: "added p50, 1 connection",
    against: "HAProxy",
    most: 1.3,
    figure: ({ addedP50Us }) => addedP50Us,
  },
];

/** Compares Remora with the others of the same run. */
export function judge(rows: readonly Row[]): readonly TargetResult[] {
  const own = figuresOf(rows, "Remora");
  return targets.map(({ what, against, most, figure }) => {
    const ratio = ratioOf(own, figuresOf(rows, against), figure);
    const state = ratio === undefined ? "not measured" : ratio <= most ? "met" : "missed";
    return { what, against, most, state, ratio };
  });
}

/** undefined when one of the two was not measured, or too briefly to have a figure. */
export function ratioOf(
  own: Figures | undefined,
  other: Figures | undefined,
  figure: (figures: Figures) => number,
): number | undefined {
  if (own === undefined || other === undefined) return undefined;
  const against = figure(other);
  return against > 0 ? figure(own) / against : undefined;
}
