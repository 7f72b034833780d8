/** What `remora check` says of certificates. Every threshold is a part of the life, so that leaves of minutes are judged as those of days. */
import type { CertificateSummary } from "../certs/inspect.js";
import type {
  LifeView,
  ServedCertificatesView,
  ServedCertificateView,
} from "../control-plane/admin/served-certificates.js";
import { caFailedLeft, caWarningLeft } from "../control-plane/ca/ca-life.js";
import type { ExportedCertificateView } from "../control-plane/ca/exported-certificates.js";
import { lifeLeft } from "../src/identity/renewal-schedule.js";
import { failed, ok, warning, type CheckLine } from "./check-line.js";
import { age } from "./output/age.js";

/** Leaves are renewed at 50-75 % of their life: what has less left than this was not. */
const leafWarningLeft = 0.25;
const leafFailedLeft = 0.15;

/** A root or an intermediate of the trust bundle. */
export function caLine(summary: CertificateSummary, nowMs: number): CheckLine {
  const { state, notBefore, notAfter } = summary;
  const fix = "replace it before that: remora ca rotate (docs/ca.md, Replace the CA)";
  if (state !== "valid") return failed(`the root CA is ${state} (until ${notAfter})`, fix);
  const life = { notBeforeMs: Date.parse(notBefore), notAfterMs: Date.parse(notAfter) };
  return caLifeLine("the root CA", life, fix, nowMs);
}

function intermediateLines({ notBeforeMs, notAfterMs }: LifeView, nowMs: number): readonly CheckLine[] {
  if (notBeforeMs === null || notAfterMs === null) return [];
  const fix = "make a new one where the root is before that: remora ca intermediate (docs/ca.md)";
  const line = caLifeLine("the intermediate CA", { notBeforeMs, notAfterMs }, fix, nowMs);
  return line.state === "ok" ? [] : [line];
}

function caLifeLine(who: string, life: Life, fix: string, nowMs: number): CheckLine {
  const left = lifeLeft(life, nowMs);
  const text = `${who} is valid for ${age(life.notAfterMs - nowMs)}`;
  if (left <= caFailedLeft) return failed(`${text} only, ${percent(left)} of its life`, fix);
  if (left <= caWarningLeft) return warning(`${text} only, ${percent(left)} of its life`, fix);
  return ok(text);
}

interface Life {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** The control plane's own certificate, what every inbound port shows to those who connect, and what was exported. */
export function certificateLines(
  { controlPlane, intermediates, sidecars, leftOut, exported = [] }: ServedCertificatesView,
  nowMs: number,
): readonly CheckLine[] {
  const seen = sidecars.filter(({ isSeen }) => isSeen);
  const problems = [
    ...intermediates.flatMap((one) => intermediateLines(one, nowMs)),
    ...leafLines("the control plane", controlPlane, "see its log for why it was not renewed", nowMs),
    ...sidecars.flatMap((sidecar) => servedLines(sidecar, nowMs)),
    ...exported.flatMap((one) => exportedLines(one, nowMs)),
  ];
  const rest =
    leftOut === 0
      ? []
      : [warning(`${leftOut} sidecars were not looked at: time was up`, "see /certs of their admin APIs")];
  const good = ok(`${seen.length} sidecars show the certificate that they should, with life enough`);
  return [...(problems.length === 0 ? [good] : problems), ...rest];
}

function servedLines(sidecar: ServedCertificateView, nowMs: number): readonly CheckLine[] {
  const { instance, at, problem, isSeen } = sidecar;
  if (!isSeen)
    return [
      warning(
        `the certificate of ${instance} cannot be seen at ${at}: ${problem ?? "no answer"}`,
        "let the control plane's machine connect there, or see /certs of the sidecar's admin API",
      ),
    ];
  const life = leafLines(instance, sidecar, "see its log for why it was not renewed", nowMs);
  if (life.some(({ state }) => state === "failed") || problem === null) return life;
  return [
    failed(
      `${instance} shows a certificate at ${at} that peers refuse: ${problem}`,
      "restart that sidecar; if it stays, correct the instance's address in the registry",
    ),
  ];
}

/** Once it has ended, its service is down or gone: only its owner knows. */
function exportedLines(
  { id, serial, notBeforeMs, notAfterMs }: ExportedCertificateView,
  nowMs: number,
): readonly CheckLine[] {
  const who = `${id} (remora cert issue)`;
  const next = "issue the next one with remora cert issue";
  if (notAfterMs <= nowMs)
    return [warning(`the certificate of ${who} has expired ${age(nowMs - notAfterMs)} ago`, next)];
  const fix = `${next}; when nobody uses it: remora cert revoke ${serial}`;
  return leafLines(who, { notBeforeMs, notAfterMs }, fix, nowMs);
}

/** Nothing as long as there is life enough. */
export function leafLines(
  who: string,
  { notBeforeMs, notAfterMs }: Pick<LifeView, "notBeforeMs" | "notAfterMs">,
  fix: string,
  nowMs: number,
): readonly CheckLine[] {
  if (notAfterMs === null) return [];
  if (notAfterMs <= nowMs)
    return [failed(`the certificate of ${who} has expired ${age(nowMs - notAfterMs)} ago`, fix)];
  if (notBeforeMs === null) return [];
  const left = lifeLeft({ notBeforeMs, notAfterMs }, nowMs);
  const text = `the certificate of ${who} is valid for ${age(notAfterMs - nowMs)} only, ${percent(left)} of its life`;
  if (left <= leafFailedLeft) return [failed(text, fix)];
  return left <= leafWarningLeft ? [warning(text, fix)] : [];
}

function percent(part: number): string {
  return `${Math.round(part * 100)} %`;
}
