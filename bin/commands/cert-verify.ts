import { splitPemCertificates } from "../../certs/bundle.js";
import { parseCertificate } from "../../certs/certificate.js";
import { refusalTexts } from "../../certs/certificate-error.js";
import { describeVerification } from "../../certs/inspect.js";
import { splitSpiffeUri } from "../../certs/spiffe-id.js";
import { verifySvidChain } from "../../certs/verify.js";
import type { CommandBody } from "../command.js";
import { CommandError, exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import { inFile, readPemFile } from "../pem-file.js";
import type { certVerifySettings } from "../settings/ca-settings.js";

/** `remora cert verify`: exit code 1 when the chain is refused. */
export const certVerify: CommandBody<typeof certVerifySettings> = async (settings, operands, terminal) => {
  const [file = "-"] = operands;
  const chainPem = await readPemFile(file, terminal);
  const bundlePem = await readPemFile(settings.bundle, terminal);
  const trustDomain =
    settings.trustDomain ?? inFile(settings.bundle, () => trustDomainOf(settings.bundle, bundlePem));
  const chain = inFile(file, () => splitPemCertificates(chainPem));
  const result = verifySvidChain(chain, bundlePem, { nowMs: terminal.clock.wallMs(), trustDomain });
  if (settings.output === "json")
    printJson(terminal, result.ok ? result : { ...result, meaning: refusalTexts[result.reason] });
  else printLines(terminal, [`${file}: ${describeVerification(result)}`]);
  return result.ok ? exitCodes.ok : exitCodes.failed;
};

/** X509-SVID §3.1: a CA names its trust domain in its URI SAN. */
function trustDomainOf(file: string, bundlePem: string): string {
  const [root] = splitPemCertificates(bundlePem);
  const uri =
    root && parseCertificate(root).subjectAltNames.find((name) => name.type === "uri" && name.value !== "");
  if (uri === undefined)
    throw new CommandError(`${file}: holds no root that names its trust domain; give --trust-domain`);
  return splitSpiffeUri(uri.value).trustDomain;
}
