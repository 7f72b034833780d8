/**
 * One setting of a command. Its name stands once, as the key of the table it is in; flag, environment variable and file
 * key are made from it: `drainTimeout` -> `--drain-timeout`, `REMORA_DRAIN_TIMEOUT`, `drainTimeout:`.
 */
export interface Setting<V> {
  /** one: a value. list: several, in the environment separated by commas. switch: on or off. */
  readonly kind: "one" | "list" | "switch";
  /** What stands for the value in help texts; "" for a switch. */
  readonly placeholder: string;
  readonly help: string;
  /** `-n` */
  readonly short: string | undefined;
  /** The default as help and documentation show it; undefined when there is none. */
  readonly defaultText: string | undefined;
  /** Of a single call: not from environment or file. */
  readonly isFlagOnly: boolean;
  /** Values that shells can complete. */
  readonly choices: readonly string[];
  /** Key of the setting that stands in for this one where it must be given; undefined: none does. */
  readonly unless: string | undefined;
  /** Throws for what may stand in the environment or the file, but not on the command line. */
  readonly checkFlag: ((text: string) => void) | undefined;
  /** The value of the texts given; undefined = none were. Throws Error with cause and fix, without the place. */
  read(texts: readonly string[] | undefined): V;
}

/** A command's settings. Key: the name in camel case. */
export type Settings = Readonly<Record<string, Setting<unknown>>>;

/** The values of a table of settings. */
export type Values<S extends Settings> = {
  readonly [K in keyof S]: S[K] extends Setting<infer V> ? V : never;
};

/** Text -> value; throws Error that says what is wrong with the text and what it may be. */
export type Parse<T> = ((text: string) => T) & { readonly choices?: readonly string[] };

/** What every kind of setting may say of itself. */
export interface Wording {
  readonly placeholder: string;
  readonly help: string;
  readonly short?: string;
  readonly isFlagOnly?: boolean;
  readonly checkFlag?: (text: string) => void;
}

/** Nobody gave a value that has no default. */
export class MissingSetting extends Error {
  override readonly name = "MissingSetting";
}

/** A setting that must be given. */
export function required<T>(parse: Parse<T>, wording: Wording): Setting<T> {
  const read = (texts: readonly string[] | undefined): T => {
    const text = texts?.at(-1);
    if (text === undefined) throw new MissingSetting();
    return parse(text);
  };
  return { ...base("one", wording, parse), read };
}

/** A setting that must be given unless another one is, whose key is `unless`. */
export function requiredUnless<T>(unless: string, parse: Parse<T>, wording: Wording): Setting<T | undefined> {
  return { ...required<T | undefined>(parse, wording), unless };
}

/** A setting with a default, which is written as a user would write it. */
export function defaulted<T>(parse: Parse<T>, text: string, wording: Wording): Setting<T> {
  const read = (texts: readonly string[] | undefined): T => parse(texts?.at(-1) ?? text);
  return { ...base("one", wording, parse), defaultText: text, read };
}

/** A setting that may be absent. `defaultText` says what then happens. */
export function optional<T>(
  parse: Parse<T>,
  wording: Wording & { readonly defaultText?: string },
): Setting<T | undefined> {
  const read = (texts: readonly string[] | undefined): T | undefined => {
    const text = texts?.at(-1);
    return text === undefined ? undefined : parse(text);
  };
  return { ...base("one", wording, parse), defaultText: wording.defaultText, read };
}

/** A setting that may be given several times. */
export function list<T>(parse: Parse<T>, wording: Wording): Setting<readonly T[]> {
  return { ...base("list", wording, parse), read: (texts) => (texts ?? []).map(parse) };
}

/** A setting that is on when given. */
export function toggle(wording: Omit<Wording, "placeholder">): Setting<boolean> {
  const read = (texts: readonly string[] | undefined): boolean => {
    const text = texts?.at(-1) ?? "false";
    if (text !== "true" && text !== "false")
      throw new Error(`${JSON.stringify(text)} is neither true nor false`);
    return text === "true";
  };
  return { ...base("switch", { ...wording, placeholder: "" }), read };
}

/** `drainTimeout` -> `--drain-timeout` */
export function flagOf(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `drainTimeout` -> `REMORA_DRAIN_TIMEOUT` */
export function environmentOf(key: string): string {
  return `REMORA_${flagOf(key).slice(2).replaceAll("-", "_").toUpperCase()}`;
}

function base(kind: Setting<unknown>["kind"], wording: Wording, parse?: Parse<unknown>) {
  const { placeholder, help, short, isFlagOnly = false, checkFlag } = wording;
  return {
    kind,
    placeholder,
    help,
    short,
    isFlagOnly,
    checkFlag,
    defaultText: undefined,
    unless: undefined,
    choices: parse?.choices ?? [],
  };
}
