import type { MirrorConfig } from "../config/mirror-config.js";
import type { Fields } from "./fields.js";

const all = 1_000_000;

/** Mirrors as Envoy's RequestMirrorPolicy; without a fraction it is every request. The copies keep their host. */
export function encodeMirrors(mirrors: readonly MirrorConfig[] | undefined): object {
  if (mirrors === undefined) return {};
  const requestMirrorPolicies = mirrors.map(({ cluster, perMillion }) => ({
    cluster,
    ...(perMillion < all && {
      runtimeFraction: { defaultValue: { numerator: perMillion, denominator: "MILLION" } },
    }),
    disableShadowHostSuffixAppend: true,
  }));
  return { requestMirrorPolicies };
}

/** undefined when there is none. Throws ConfigError. */
export function decodeMirrors(fields: Fields): readonly MirrorConfig[] | undefined {
  const mirrors = fields.messages("requestMirrorPolicies").map((policy) => {
    const share = policy.optionalMessage("runtimeFraction")?.message("defaultValue");
    share?.oneOf("denominator", ["MILLION"]);
    return {
      cluster: policy.requiredString("cluster"),
      perMillion: share === undefined ? all : share.number("numerator", 0, all),
    };
  });
  return mirrors.length === 0 ? undefined : mirrors;
}
