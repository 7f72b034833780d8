import { nameIs } from "./headers.js";

/**
 * Value of the first cookie of this name; undefined when there is none, or when it is empty. Names compare exactly, and the
 * quotes that may enclose a value are taken off (RFC 6265 §4.2.1).
 */
export function cookieValue(headers: readonly string[], name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if (!nameIs(headers[i] as string, "cookie")) continue;
    const value = valueIn(headers[i + 1] as string, name);
    if (value !== undefined) return value;
  }
  return undefined;
}

function valueIn(list: string, name: string): string | undefined {
  for (let start = 0; start < list.length;) {
    let end = list.indexOf(";", start);
    if (end === -1) end = list.length;
    const pair = list.slice(start, end).trim();
    if (pair.startsWith(name) && pair[name.length] === "=") {
      const value = pair.slice(name.length + 1).replace(/^"(.*)"$/, "$1");
      if (value !== "") return value;
    }
    start = end + 1;
  }
  return undefined;
}
