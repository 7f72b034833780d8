/**
 * Why a request must not be served, or undefined. Any web page can make a browser on this machine send requests to a
 * loopback port: under a name of its own that resolves to 127.0.0.1 (DNS rebinding: a foreign Host) or across origins
 * (CSRF: a foreign Origin). Both name who asks.
 */
export function refusal(
  host: string | undefined,
  origin: string | undefined,
  port: number,
): string | undefined {
  const own = [`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`];
  if (!own.includes(host?.toLowerCase() ?? ""))
    return `this admin API answers only to Host ${own.join(", ")}`;
  if (origin !== undefined && !own.some((name) => origin.toLowerCase() === `http://${name}`))
    return "this admin API does not answer requests of other origins";
  return undefined;
}
