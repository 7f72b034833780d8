import type { LocalityConfig } from "../config/locality-config.js";
import type { Fields } from "./fields.js";

/** Part of remora.v1.Cluster. */
export function encodeLocality(locality: LocalityConfig | undefined): object {
  return locality === undefined ? {} : { locality: { spilloverPercent: locality.spilloverPercent } };
}

/** Throws ConfigError. */
export function decodeLocality(ours: Fields): { readonly locality?: LocalityConfig } {
  const locality = ours.optionalMessage("locality");
  if (locality === undefined) return {};
  return { locality: { spilloverPercent: locality.number("spilloverPercent", 0, 100) } };
}
