/** What grpc-js says of a connection that it did not get, in an operator's words; any other text as it is. */
export function connectFailure(text: string): string {
  return clockFailure(text) ?? /Last error: (?:Error: )?(.*?)\. Resolution note: /s.exec(text)?.[1] ?? text;
}

/** The control plane's certificate is good at another time; undefined: that is not what the text says. */
export function clockFailure(text: string): string | undefined {
  const outOfTime = /certificate (has expired|is not yet valid)/.exec(text)?.[0];
  if (outOfTime === undefined) return undefined;
  return `by the clock of this machine its ${outOfTime}: compare the clocks of both machines`;
}
