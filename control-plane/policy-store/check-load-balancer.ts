import type { HashPolicySpec, LoadBalancerSpec } from "../../src/config/documents/load-balancer.js";
import { isPrime, nextPrime } from "../../src/config/prime.js";
import { checkLocality } from "./check-locality.js";
import { checkUnique, type Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** Contradictions inside `loadBalancer`. */
export function checkLoadBalancer(spec: LoadBalancerSpec, path: FieldPath, report: Report): void {
  checkLocality(spec.locality, [...path, "locality"], report);
  const { policy, hashPolicy, ringHash, maglev } = spec;
  const isHashing = policy === "ring_hash" || policy === "maglev";
  const owners = { choiceCount: "least_request", ringHash: "ring_hash", maglev: "maglev" } as const;
  for (const [field, owner] of Object.entries(owners) as [keyof typeof owners, string][]) {
    if (spec[field] !== undefined && policy !== owner) {
      report(
        [...path, field],
        `is read by policy ${owner} alone, and the policy is ${policy ?? "the default, peak_ewma"}`,
      );
    }
  }
  if (isHashing && hashPolicy === undefined) {
    report(
      [...path, "policy"],
      `${policy} needs hashPolicy: without a key every request goes to a random endpoint`,
    );
  }
  if (!isHashing && hashPolicy !== undefined) {
    report(
      [...path, "hashPolicy"],
      "is read by the policies ring_hash and maglev alone: set policy to one of them",
    );
  }
  checkRing(ringHash, [...path, "ringHash"], report);
  if (maglev?.tableSize !== undefined && !isPrime(maglev.tableSize)) {
    const prime = nextPrime(maglev.tableSize);
    report(
      [...path, "maglev", "tableSize"],
      `${maglev.tableSize} is no prime: take ${prime}, or leave it out`,
    );
  }
  (hashPolicy ?? []).forEach((part, index) => checkPart(part, [...path, "hashPolicy", index], report));
  checkUnique(
    (hashPolicy ?? []).map(({ header }) => header?.toLowerCase()),
    (index) => [...path, "hashPolicy", index, "header"],
    "header",
    report,
  );
  checkUnique(
    (hashPolicy ?? []).map(({ cookie }) => cookie?.name),
    (index) => [...path, "hashPolicy", index, "cookie"],
    "cookie",
    report,
  );
  for (const source of ["sourceIdentity", "sourceIP"] as const)
    checkUnique(
      (hashPolicy ?? []).map((part) => (part[source] === true ? source : undefined)),
      (index) => [...path, "hashPolicy", index, source],
      "source",
      report,
    );
}

function checkRing(spec: LoadBalancerSpec["ringHash"], path: FieldPath, report: Report): void {
  const { minimumRingSize: minimum, maximumRingSize: maximum } = spec ?? {};
  if (minimum !== undefined && maximum !== undefined && minimum > maximum) {
    report([...path, "minimumRingSize"], `${minimum} is more than maximumRingSize ${maximum}`);
  }
}

const sources = ["header", "cookie", "query", "sourceIdentity", "sourceIP"] as const;

function checkPart(part: HashPolicySpec, path: FieldPath, report: Report): void {
  const named = sources.filter((source) => part[source] !== undefined);
  if (named.length === 1) return;
  const found = named.length === 0 ? "none" : named.join(" and ");
  report(path, `needs one of ${sources.join(", ")}, and has ${found}; write an entry for each`);
}
