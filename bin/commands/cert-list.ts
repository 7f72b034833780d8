import type { CertificateView } from "../../control-plane/ca/certificate-list.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { age } from "../output/age.js";
import { printJson, printLines } from "../output/print.js";
import { table } from "../output/table.js";
import type { certListSettings } from "../settings/client-settings.js";

/** `remora cert list` */
export const certList: CommandBody<typeof certListSettings> = async (settings, _operands, terminal) => {
  const { service, namespace, all, limit, output } = settings;
  const client = await openAdminClient(settings, terminal);
  const query = new URLSearchParams({ all: String(all), limit: String(limit), namespace });
  if (service !== undefined) query.set("service", service);
  const { certificates, more } = (await client.get(
    `/v1/certificates?${query.toString()}`,
  )) as CertificateList;
  if (output === "json") {
    printJson(terminal, { certificates, more });
    return exitCodes.ok;
  }
  const nowMs = terminal.clock.wallMs();
  const rows = certificates.map((certificate) => [
    certificate.serial,
    certificate.id.replace(/^spiffe:\/\//, ""),
    certificate.state,
    left(Date.parse(certificate.notAfter) - nowMs),
    `${certificate.by}${certificate.proof === "" ? "" : ` ${certificate.proof}`}`,
    certificate.inUseBy.join(", "),
    certificate.reason ?? "",
  ]);
  terminal.out(table(["SERIAL", "IDENTITY", "STATE", "ENDS IN", "ISSUED BY", "IN USE BY", "REASON"], rows));
  if (more > 0) printLines(terminal, [`${more} older ones are not shown; see --limit`]);
  return exitCodes.ok;
};

/** Answer of GET /v1/certificates. */
interface CertificateList {
  readonly certificates: readonly CertificateView[];
  readonly more: number;
}

const left = (ms: number): string => (ms <= 0 ? `${age(-ms)} ago` : age(ms));
