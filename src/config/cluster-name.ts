/** Neither can stand in the name of a service, of a namespace or of a subset. */
const subsetMark = "|";
const datacenterMark = "@";

/** What a cluster stands for. */
export interface ClusterName {
  /** `<service>.<namespace>` */
  readonly key: string;
  /** Absent: all instances. */
  readonly subset?: string | undefined;
  /** Absent: the instances of the own registry. */
  readonly datacenter?: string | undefined;
}

/** `reviews.default`, `reviews.default|v1`, `reviews.default@dc2`, `reviews.default|v1@dc2` */
export function formatClusterName({ key, subset, datacenter }: ClusterName): string {
  const part = subset === undefined ? "" : subsetMark + subset;
  return key + part + (datacenter === undefined ? "" : datacenterMark + datacenter);
}

export function parseClusterName(name: string): ClusterName {
  const [cluster = "", datacenter] = name.split(datacenterMark, 2);
  const [key = "", subset] = cluster.split(subsetMark, 2);
  return { key, subset, datacenter };
}
