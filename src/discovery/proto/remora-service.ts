import { fromJSON } from "@grpc/proto-loader";

/**
 * A gRPC service of package remora.v1, for both ends.
 * @param types its messages and itself, in protobufjs' JSON form.
 * @param T its methods.
 */
export function remoraService<T>(name: string, types: object): T {
  const root = { nested: { remora: { nested: { v1: { nested: types } } } } };
  const packages = fromJSON(root as Parameters<typeof fromJSON>[0], { defaults: true, arrays: true });
  return packages[`remora.v1.${name}`] as unknown as T;
}
