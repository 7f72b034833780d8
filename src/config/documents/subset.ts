import { z } from "zod";

/** What a name in the metadata of an instance looks like; Consul allows no others. */
const metaName = z.string().regex(/^[A-Za-z0-9_-]{1,128}$/, {
  error: "a name in metadata is up to 128 letters, digits, - and _",
});

/** Metadata that an instance must have: all entries, compared exactly. */
export const InstanceMeta = z
  .record(metaName, z.string().max(512))
  .refine((meta) => Object.keys(meta).length > 0, { error: "must name at least one entry of the metadata" });

const subsetName = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, {
  error: "a subset's name is up to 63 of a-z, 0-9 and -, with a letter or digit at both ends",
});

/** `subsets` of a TrafficPolicy: instances of one service told apart, by name. */
export const Subsets = z.record(
  subsetName,
  z.strictObject({ meta: InstanceMeta.describe("Metadata that an instance of the subset has.") }),
);

/** `subset` of a backend. */
export const SubsetRef = subsetName
  .optional()
  .describe(
    "Remora's own: the subset of the service, as its TrafficPolicy names it, that requests go to; all instances when absent.",
  );
