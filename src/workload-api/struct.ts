/** JSON values as google.protobuf.Struct, in the form that protobufjs encodes. */
export type Value =
  | { readonly nullValue: 0 }
  | { readonly numberValue: number }
  | { readonly stringValue: string }
  | { readonly boolValue: boolean }
  | { readonly structValue: Struct }
  | { readonly listValue: { readonly values: readonly Value[] } };

export interface Struct {
  readonly fields: Readonly<Record<string, Value>>;
}

/** Claims of honest tokens are flat; one that goes deeper is cut off there. */
const maxDepth = 16;

/** @param json what JSON.parse gave. */
export function toStruct(json: Readonly<Record<string, unknown>>, depth = 0): Struct {
  return {
    fields: Object.fromEntries(Object.entries(json).map(([key, value]) => [key, toValue(value, depth + 1)])),
  };
}

function toValue(json: unknown, depth: number): Value {
  switch (typeof json) {
    case "number":
      return { numberValue: json };
    case "string":
      return { stringValue: json };
    case "boolean":
      return { boolValue: json };
    default:
      if (json === null || json === undefined || depth > maxDepth) return { nullValue: 0 };
      if (Array.isArray(json)) return { listValue: { values: json.map((one) => toValue(one, depth + 1)) } };
      return { structValue: toStruct(json as Readonly<Record<string, unknown>>, depth) };
  }
}
