/** `service api.default is`, for the beginning of a sentence. */
export function services(keys: readonly string[]): string {
  return keys.length === 1 ? `service ${keys[0]} is` : `services ${keys.join(", ")} are`;
}

/** `service api.default speaks` */
export function speaking(keys: readonly string[]): string {
  return keys.length === 1 ? `service ${keys[0]} speaks` : `services ${keys.join(", ")} speak`;
}
