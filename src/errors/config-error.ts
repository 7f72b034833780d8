/** Something the operator wrote or set is wrong: the text names the cause and the fix, and the place if it has one. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** Where it is wrong, for example `routes.yaml:4:17` or `--port`. */
  readonly place: string | undefined;

  constructor(message: string, options?: ErrorOptions & { readonly place?: string }) {
    super(options?.place === undefined ? message : `${options.place}: ${message}`, options);
    this.place = options?.place;
  }
}
