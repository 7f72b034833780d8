import { protocols, type Protocol } from "../../src/config/protocol.js";
import type { InstanceDeclaration } from "../../src/registration/registration-service.js";
import { addressKind } from "../../src/traffic/address-kind.js";
import { instanceStatuses, type Instance, type InstanceStatus } from "./catalog.js";

/** Who declares an instance: what its client certificate proves, and where its connection comes from. */
export interface Declarer {
  readonly service: string;
  readonly namespace: string;
  /** Remote address of the connection, an IP literal; IPv4 may be mapped into IPv6. */
  readonly address: string;
}

const idPattern = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
const metaNamePattern = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$/;
const maxMeta = 64;
const maxMetaValueLength = 512;
/** Consul's bound for service weights. */
const maxWeight = 65_535;

/** @returns the status, or undefined when the text is none. */
export function parseStatus(text: string): InstanceStatus | undefined {
  return instanceStatuses.find((status) => status === text);
}

/**
 * Checks what a sidecar says about itself, with nothing taken on trust but its certificate.
 *
 * @returns the instance, or one line that says what is wrong and what to do.
 */
export function readDeclaration(
  declared: InstanceDeclaration,
  status: InstanceStatus,
  declarer: Declarer,
): Instance | string {
  const { service, namespace } = declarer;
  if (declared.service !== service || declared.namespace !== namespace)
    return `the certificate belongs to ${service}.${namespace}: it cannot register ${quote(`${declared.service}.${declared.namespace}`)}`;
  if (!idPattern.test(declared.id))
    return `instance id ${quote(declared.id)}: use 1-128 letters, digits and . _ : -`;
  const addressProblem = checkAddress(declared.address, declarer.address);
  if (addressProblem !== undefined) return addressProblem;
  if (!isPort(declared.meshPort)) return `mesh port ${declared.meshPort}: must be 1-65535`;
  if (declared.appPort !== 0 && !isPort(declared.appPort))
    return `application port ${declared.appPort}: must be 1-65535, or 0 when it is not known`;
  if (!protocols.includes(declared.protocol as Protocol))
    return `protocol ${quote(declared.protocol)}: must be one of ${protocols.join(", ")}`;
  if (declared.weight > maxWeight) return `weight ${declared.weight}: must be 1-${maxWeight}`;
  if (declared.zone.length > 128) return "zone: at most 128 characters";
  if (declared.meta.length > maxMeta) return `meta: at most ${maxMeta} entries`;
  for (const { name, value } of declared.meta) {
    if (!metaNamePattern.test(name)) return `meta name ${quote(name)}: use 1-64 letters, digits and . _ / -`;
    if (value.length > maxMetaValueLength) return `meta ${name}: at most ${maxMetaValueLength} characters`;
  }
  return {
    id: declared.id,
    address: declared.address,
    port: declared.appPort,
    meshPort: declared.meshPort,
    status,
    protocol: declared.protocol as Protocol,
    weight: Math.max(1, declared.weight),
    zone: declared.zone,
    meta: Object.freeze(Object.fromEntries(declared.meta.map(({ name, value }) => [name, value]))),
    tags: [],
  };
}

/**
 * Addresses that would point other sidecars at themselves or at nothing. Loopback is allowed to those who are on this
 * machine: then everybody who hears of it may be too.
 */
function checkAddress(address: string, connectionAddress: string): string | undefined {
  const fix = "set --advertise to the IP address that other sidecars reach this one at";
  const kind = addressKind(address);
  if (kind === undefined) return `address ${quote(address)} is not an IP address: ${fix}`;
  if (kind === "unspecified") return `address ${address} names no machine: ${fix}`;
  if (kind === "link-local" || kind === "multicast")
    return `address ${address} is link-local or multicast: ${fix}`;
  if (kind === "loopback" && addressKind(connectionAddress) !== "loopback")
    return `address ${address} is loopback, but the sidecar connects from ${connectionAddress}: ${fix}`;
  return undefined;
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}

/** Text from a peer: one line, bounded. */
function quote(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
