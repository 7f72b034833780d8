import { Document, isMap, isSeq, type YAMLMap, type YAMLSeq } from "yaml";
import type { ServiceCalls } from "./call-table.js";
import { doubtsOf, span } from "./observation-doubts.js";
import { callerText, type SuggestedRule, type Suggestion } from "./suggest-policy.js";

export interface YamlOptions {
  readonly trustDomain: string;
  readonly nowMs: number;
}

/** The documents, with a comment for each rule about the traffic that it stands for. */
export function suggestionYaml(
  seen: ServiceCalls,
  suggestion: Suggestion,
  { trustDomain, nowMs }: YamlOptions,
): string {
  const { service, namespace, rules, document, leftOut } = suggestion;
  const remarks = [
    `What ${service}.${namespace} was asked between ${iso(seen.sinceMs)} and ${iso(seen.lastReportMs)}.`,
    ...doubtsOf(seen, nowMs).map((doubt) => `WARNING: ${doubt}.`),
    ...leftOut.map((line) => `Not admitted: ${line}.`),
    ...(document?.spec.mode === "audit"
      ? [
          "With mode audit it decides nothing: what it would refuse is logged and counted. Take the line out to enforce it.",
        ]
      : []),
  ];
  if (document === undefined) return comments([...remarks, "There is nothing to admit yet."]);
  const yaml = new Document(document);
  const list = yaml.getIn(["spec", "rules"]);
  if (isSeq(list))
    for (const [index, item] of list.items.entries()) {
      const rule = rules[index];
      if (!isMap(item) || rule === undefined) continue;
      item.commentBefore = ` ${ruleComment(rule, trustDomain, nowMs)}`;
      flowLists(item);
    }
  return comments(remarks) + yaml.toString({ lineWidth: 0 });
}

function ruleComment(
  { caller, calls, firstSeenMs, lastSeenMs }: SuggestedRule,
  trustDomain: string,
  nowMs: number,
): string {
  const ages = `first seen ${span(nowMs - firstSeenMs)} ago, last ${span(nowMs - lastSeenMs)} ago`;
  return `${callerText(caller, trustDomain)}: ${calls} calls, ${ages}`;
}

/** Lists of texts stand on one line while they are short. */
function flowLists(map: YAMLMap): void {
  for (const { value } of map.items) {
    if (isMap(value)) flowLists(value);
    if (!isSeq(value)) continue;
    for (const item of value.items) if (isMap(item)) flowLists(item);
    value.flow = isShort(value);
  }
}

function isShort({ items }: YAMLSeq): boolean {
  return items.length <= 4 && items.every((item) => !isMap(item));
}

function comments(lines: readonly string[]): string {
  return lines.map((line) => `# ${line.replace(/[^\x20-\x7e]/g, "?")}\n`).join("");
}

function iso(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16)}Z`;
}
