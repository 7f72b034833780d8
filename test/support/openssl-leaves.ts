/** The same mistakes as wrong-leaves.ts, made with another hand: the `openssl` command. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { WrongLeaf } from "./wrong-leaves.js";

export interface OpensslTable {
  /** Folder of its own; made if it is not there. */
  readonly dir: string;
  /** The mesh's CA. */
  readonly rootPem: string;
  readonly rootKeyPem: string;
  /** SPIFFE id that the attacker would like to have. */
  readonly id: string;
  readonly nowMs: number;
}

export interface OpensslLeaves {
  readonly right: WrongLeaf;
  readonly wrong: readonly WrongLeaf[];
}

const hourMs = 3_600_000;
const usage = "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth";

interface Row {
  readonly name: string;
  readonly reason: string;
  /** Section of an openssl configuration. */
  readonly extensions: string;
  readonly lifeMs?: readonly [number, number];
  readonly by?: "mesh" | "stranger" | "itself";
}

export function opensslLeaves(table: OpensslTable): OpensslLeaves {
  const { dir, id } = table;
  mkdirSync(dir, { recursive: true });
  writeFileSync(path.join(dir, "root.crt"), table.rootPem);
  writeFileSync(path.join(dir, "root.key"), table.rootKeyPem, { mode: 0o600 });
  const san = `subjectAltName=URI:${id}`;
  const normal = `basicConstraints=critical,CA:FALSE\n${usage}\n${san}`;
  const rows: readonly Row[] = [
    { name: "54 no SAN", reason: "no_uri_san", extensions: usage },
    { name: "54 two URI SANs", reason: "several_uri_sans", extensions: `${normal},URI:${id}2` },
    { name: "54 a DNS SAN alone", reason: "no_uri_san", extensions: `${usage}\nsubjectAltName=DNS:web` },
    { name: "54 cA=true", reason: "leaf_is_ca", extensions: `basicConstraints=CA:TRUE\n${usage}\n${san}` },
    {
      name: "54 keyCertSign",
      reason: "leaf_signs",
      extensions: `keyUsage=digitalSignature,keyCertSign\n${san}`,
    },
    {
      name: "54 usage for code signing",
      reason: "wrong_extended_key_usage",
      extensions: `keyUsage=digitalSignature\nextendedKeyUsage=codeSigning\n${san}`,
    },
    { name: "54 percent-encoding", reason: "bad_path", extensions: `${usage}\nsubjectAltName=URI:${id}%62` },
    { name: "57 mail address", reason: "no_uri_san", extensions: `${usage}\nsubjectAltName=email:a@web` },
    {
      name: "57 otherName with the URI",
      reason: "no_uri_san",
      extensions: `${usage}\nsubjectAltName=otherName:1.3.6.1.4.1.311.20.2.3;BMP:${id}`,
    },
    { name: "55 self-signed", reason: "self_signed", extensions: normal, by: "itself" },
    { name: "55 a stranger's CA", reason: "unknown_issuer", extensions: normal, by: "stranger" },
    { name: "55 expired", reason: "expired", extensions: normal, lifeMs: [-2 * hourMs, -2000] },
    { name: "55 not yet valid", reason: "not_yet_valid", extensions: normal, lifeMs: [hourMs, 2 * hourMs] },
  ];
  selfSign(dir, "stranger", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign");
  return {
    right: make(table, { name: "right", reason: "", extensions: normal }),
    wrong: rows.map((row) => make(table, row)),
  };
}

function make(
  { dir, nowMs }: OpensslTable,
  { name, reason, extensions, lifeMs, by = "mesh" }: Row,
): WrongLeaf {
  const file = name.replaceAll(/\W/g, "-");
  const read = (end: string): string => readFileSync(path.join(dir, `${file}.${end}`), "utf8");
  if (by === "itself") selfSign(dir, file, extensions);
  else {
    const ca = by === "mesh" ? "root" : "stranger";
    const [from, to] = lifeMs ?? [-hourMs, hourMs];
    writeFileSync(path.join(dir, "index.txt"), "");
    writeFileSync(
      path.join(dir, `${file}.cnf`),
      [
        ...["[ca]", "default_ca=d", "[d]", `new_certs_dir=${dir}`, `database=${path.join(dir, "index.txt")}`],
        ...["default_md=sha256", "rand_serial=yes", "policy=p", "[p]", "commonName=supplied"],
        ...["[leaf]", extensions, ""],
      ].join("\n"),
    );
    newRequest(dir, file);
    openssl(dir, [
      ...["ca", "-batch", "-notext", "-config", `${file}.cnf`, "-extensions", "leaf", "-in", `${file}.csr`],
      ...["-out", `${file}.crt`, "-cert", `${ca}.crt`, "-keyfile", `${ca}.key`],
      ...["-startdate", opensslTime(nowMs + from), "-enddate", opensslTime(nowMs + to)],
    ]);
  }
  return { name: `${name}, by openssl`, reason, cert: read("crt"), key: read("key") };
}

function newRequest(dir: string, file: string): void {
  openssl(dir, [
    ...["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
    ...["-subj", "/CN=web", "-keyout", `${file}.key`, "-out", `${file}.csr`],
  ]);
}

function selfSign(dir: string, file: string, extensions: string): void {
  writeFileSync(path.join(dir, `${file}.ext`), extensions);
  newRequest(dir, file);
  openssl(dir, [
    ...["x509", "-req", "-in", `${file}.csr`, "-signkey", `${file}.key`, "-days", "1"],
    ...["-extfile", `${file}.ext`, "-out", `${file}.crt`],
  ]);
}

function openssl(dir: string, args: readonly string[]): void {
  execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
}

function opensslTime(ms: number): string {
  return `${new Date(ms).toISOString().replaceAll(/\D/g, "").slice(0, 14)}Z`;
}
