/**
 * First value of a query parameter, percent-decoded; undefined when the parameter is absent, "" when it has no value.
 * Names compare after decoding, exactly. "+" is a plus sign: RFC 3986 gives it no other meaning, only HTML forms do.
 * `pathEnd` is where the path of the target ends (path.ts).
 */
export function queryParameter(target: string, pathEnd: number, name: string): string | undefined {
  let start = pathEnd + 1;
  while (start < target.length) {
    let end = target.indexOf("&", start);
    if (end === -1) end = target.length;
    let equals = target.indexOf("=", start);
    if (equals === -1 || equals > end) equals = end;
    if (isName(target, start, equals, name)) return decode(target.slice(equals + 1, end));
    start = end + 1;
  }
  return undefined;
}

function isName(target: string, start: number, end: number, name: string): boolean {
  const length = end - start;
  if (length === name.length && target.startsWith(name, start)) return true;
  // An encoded name is longer than what it says.
  return length > name.length && decode(target.slice(start, end)) === name;
}

/** Text that is not valid percent-encoded UTF-8 stands for itself. */
function decode(text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
