/** A strict reader of Prometheus' text format 0.0.4: throws with the line for whatever a scraper could refuse. */
export interface ScrapedFamily {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly samples: readonly ScrapedSample[];
}

export interface ScrapedSample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

const sampleLine = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const labelPair = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y;
const suffixes: Readonly<Record<string, readonly string[]>> = {
  histogram: ["_bucket", "_sum", "_count"],
  summary: ["", "_sum", "_count"],
};

/** Families by name. Checks names, labels, duplicates, and that histograms are cumulative and complete. */
export function parsePrometheusText(text: string): Map<string, ScrapedFamily> {
  if (!text.endsWith("\n")) throw new Error("the last line has no line feed");
  const families = new Map<string, { name: string; help: string; type: string; samples: ScrapedSample[] }>();
  const seen = new Set<string>();
  let current: { name: string; help: string; type: string; samples: ScrapedSample[] } | undefined;
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, keyword, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (keyword === "HELP") {
      if (families.has(name)) throw new Error(`family twice: ${line}`);
      current = { name, help: rest, type: "", samples: [] };
      families.set(name, current);
    } else if (keyword === "TYPE") {
      if (current?.name !== name || current.type !== "") throw new Error(`TYPE without its HELP: ${line}`);
      current.type = rest;
    } else {
      const sample = parseSample(line);
      if (current === undefined || !belongs(sample.name, current))
        throw new Error(`sample outside of its family: ${line}`);
      const key = line.slice(0, line.lastIndexOf(" ")); // labels of a family always come in one order
      if (seen.has(key)) throw new Error(`series twice: ${line}`);
      seen.add(key);
      current.samples.push(sample);
    }
  }
  for (const family of families.values()) if (family.type === "histogram") checkHistogram(family);
  return families;
}

function parseSample(line: string): ScrapedSample {
  const [, name, labelText = "", number = ""] = sampleLine.exec(line) ?? [];
  if (name === undefined) throw new Error(`not a sample: ${line}`);
  const labels = new Map<string, string>();
  labelPair.lastIndex = 0;
  while (labelPair.lastIndex < labelText.length) {
    const [, label, value] = labelPair.exec(labelText) ?? [];
    if (label === undefined || value === undefined || labels.has(label))
      throw new Error(`bad labels: ${line}`);
    labels.set(label, value);
  }
  const value = number === "+Inf" ? Infinity : Number(number);
  if (Number.isNaN(value) && number.toLowerCase() !== "nan") throw new Error(`bad value: ${line}`);
  return { name, labels, value };
}

function belongs(sample: string, family: { name: string; type: string }): boolean {
  return (suffixes[family.type] ?? [""]).some((suffix) => sample === family.name + suffix);
}

function checkHistogram({ name, samples }: ScrapedFamily): void {
  const cells = new Map<string, { last: number; le: number; count: number | undefined }>();
  for (const { name: sample, labels, value } of samples) {
    let key = "";
    for (const [label, text] of labels) if (label !== "le") key += `${label}=${text}\n`;
    const cell = cells.get(key) ?? { last: 0, le: -Infinity, count: undefined };
    cells.set(key, cell);
    if (sample.endsWith("_bucket")) {
      const le = labels.get("le") === "+Inf" ? Infinity : Number(labels.get("le"));
      if (!(le > cell.le) || value < cell.last) throw new Error(`${name}: buckets are not cumulative`);
      cell.le = le;
      cell.last = value;
    } else if (sample.endsWith("_count")) cell.count = value;
  }
  for (const { le, last, count } of cells.values())
    if (le !== Infinity || count !== last) throw new Error(`${name}: no +Inf bucket equal to the count`);
}
