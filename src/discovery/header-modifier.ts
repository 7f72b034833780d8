import type { HeaderModifier } from "../config/snapshot.js";
import type { Fields } from "./fields.js";

/** The four fields that Envoy's Route and ClusterWeight have for changing headers. An empty modifier is none. */
export function encodeHeaderModifiers(
  request: HeaderModifier | undefined,
  response: HeaderModifier | undefined,
): object {
  return {
    requestHeadersToAdd: headersToAdd(request),
    requestHeadersToRemove: request?.remove ?? [],
    responseHeadersToAdd: headersToAdd(response),
    responseHeadersToRemove: response?.remove ?? [],
  };
}

/** What to add to a RouteConfig or WeightedCluster: absent modifiers are absent properties. */
export function decodeHeaderModifiers(fields: Fields): {
  requestHeaders?: HeaderModifier;
  responseHeaders?: HeaderModifier;
} {
  const request = decodeModifier(fields, "requestHeadersToAdd", "requestHeadersToRemove");
  const response = decodeModifier(fields, "responseHeadersToAdd", "responseHeadersToRemove");
  return {
    ...(request !== undefined && { requestHeaders: request }),
    ...(response !== undefined && { responseHeaders: response }),
  };
}

type Pair = readonly [name: string, value: string];

function headersToAdd(modifier: HeaderModifier | undefined): object[] {
  if (modifier === undefined) return [];
  const option =
    (appendAction: string) =>
    ([key, value]: Pair): object => ({ header: { key, value }, appendAction, keepEmptyValue: true });
  return [
    ...modifier.set.map(option("OVERWRITE_IF_EXISTS_OR_ADD")),
    ...modifier.add.map(option("APPEND_IF_EXISTS_OR_ADD")),
  ];
}

function decodeModifier(fields: Fields, addField: string, removeField: string): HeaderModifier | undefined {
  const set: Pair[] = [];
  const add: Pair[] = [];
  for (const option of fields.messages(addField)) {
    const header = option.message("header");
    const actions = ["APPEND_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS_OR_ADD"] as const;
    const action = option.oneOf("appendAction", actions, "APPEND_IF_EXISTS_OR_ADD");
    const pair: Pair = [header.requiredString("key"), header.string("value")];
    (action === "APPEND_IF_EXISTS_OR_ADD" ? add : set).push(pair);
  }
  const remove = fields.strings(removeField);
  return set.length + add.length + remove.length === 0 ? undefined : { set, add, remove };
}
