import { messageOf } from "../../src/errors/message-of.js";
import { UsageError } from "../failure.js";
import { readConfigFile, type ConfigFile } from "./config-file.js";
import {
  environmentOf,
  flagOf,
  MissingSetting,
  type Setting,
  type Settings,
  type Values,
} from "./setting.js";

/** Where the texts of settings come from, strongest first: flags, environment, the file that `config` names. */
export interface Sources {
  /** Key: the setting's; only those that stand on the command line. */
  readonly flags: ReadonlyMap<string, readonly string[]>;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * The value of every setting: flag > environment > file > default.
 *
 * @throws UsageError that names the place of the mistake: flag, variable, or file:line:col.
 */
export async function resolveSettings<S extends Settings>(settings: S, sources: Sources): Promise<Values<S>> {
  const file = await openFile(settings, sources);
  const isGiven = (key: string): boolean => {
    const setting = settings[key];
    return setting !== undefined && given(key, setting, sources, file).texts !== undefined;
  };
  const values = Object.entries(settings).map(([key, setting]) => {
    if (setting.unless !== undefined && !isGiven(key) && isGiven(setting.unless)) return [key, undefined];
    return [key, readSetting(key, setting, given(key, setting, sources, file), sources.flags.get(key))];
  });
  return Object.fromEntries(values) as Values<S>;
}

interface Given {
  readonly texts: readonly string[] | undefined;
  readonly place: string;
}

async function openFile(settings: Settings, sources: Sources): Promise<ConfigFile> {
  const config = settings["config"];
  if (config === undefined) return new Map();
  const [file] = given("config", config, sources, new Map()).texts ?? [];
  return file === undefined ? new Map() : readConfigFile(file, settings);
}

function given(key: string, setting: Setting<unknown>, { flags, env }: Sources, file: ConfigFile): Given {
  const place = flagOf(key);
  const flag = flags.get(key);
  if (flag !== undefined) return { texts: flag, place };
  if (setting.isFlagOnly) return { texts: undefined, place };
  const variable = environmentOf(key);
  const text = env[variable];
  // An empty variable is an absent one: compose files and unit files cannot unset.
  if (text !== undefined && text !== "")
    return {
      texts: setting.kind === "list" ? text.split(",").map((part) => part.trim()) : [text],
      place: variable,
    };
  return file.get(key) ?? { texts: undefined, place };
}

function readSetting(
  key: string,
  setting: Setting<unknown>,
  { texts, place }: Given,
  flags: readonly string[] = [],
): unknown {
  try {
    flags.forEach((text) => checkFlag(key, setting, text));
    return setting.read(texts);
  } catch (error: unknown) {
    if (error instanceof MissingSetting) {
      const flag = `${flagOf(key)} ${setting.placeholder}`;
      const others = setting.isFlagOnly ? "" : `, ${environmentOf(key)} or "${key}:" in --config`;
      throw new UsageError(flagOf(key), `is missing; give ${flag}${others}`);
    }
    throw new UsageError(place, messageOf(error), { cause: error });
  }
}

function checkFlag(key: string, { checkFlag: check }: Setting<unknown>, text: string): void {
  try {
    check?.(text);
  } catch (error: unknown) {
    throw new Error(`${messageOf(error)}: ${environmentOf(key)} or "${key}:" in --config`, { cause: error });
  }
}
