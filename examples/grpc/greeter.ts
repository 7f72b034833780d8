/** What greeter.proto says, for its server and its client. */
import { loadPackageDefinition, type ServiceClientConstructor } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import path from "node:path";

/** The folder with this file's source: what is not TypeScript is not copied. */
export const folder = path.resolve(import.meta.dirname, "../../../examples/grpc");

const loaded = loadPackageDefinition(loadSync(path.join(folder, "greeter.proto"))) as unknown as {
  readonly example: { readonly Greeter: ServiceClientConstructor };
};
export const Greeter = loaded.example.Greeter;

export interface Name {
  readonly name: string;
}

export interface Greeting {
  readonly text: string;
  readonly instance: string;
}
