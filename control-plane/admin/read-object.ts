import { ConfigError } from "../../src/errors/config-error.js";

/** A JSON object out of a request's body. @throws ConfigError */
export function readObject(body: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new ConfigError("the body is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ConfigError("the body is not a JSON object");
  return value as Readonly<Record<string, unknown>>;
}
