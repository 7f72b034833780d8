import { ConfigError } from "../../src/errors/config-error.js";
import type { MeshModel } from "../compiler/mesh-model.js";
import { explainCall } from "../explain/explain-call.js";
import type { AdminReply, AdminRequest, AdminRoute } from "./admin-server.js";

/** What the mesh would do with a call. @param model undefined: the registry was not read yet. */
export function explainRoutes(model: () => MeshModel | undefined): readonly AdminRoute[] {
  return [
    {
      // ?caller=web&service=api&namespace=default&method=GET&path=/v2&header=name:value&header=…
      method: "GET",
      path: "/v1/explain",
      role: "view",
      handle: (request) => explain(model(), request),
    },
  ];
}

const maxHeaders = 32;

function explain(model: MeshModel | undefined, { query }: AdminRequest): AdminReply {
  if (model === undefined)
    throw new ConfigError("the registry was not read yet: try again when the control plane is ready");
  const text = (name: string): string => {
    const value = query.get(name) ?? "";
    if (value === "" || value.length > 2048 || !/^[\x21-\x7e]+$/.test(value))
      throw new ConfigError(`${name} is missing or cannot stand in a request`);
    return value;
  };
  const method = text("method");
  if (!/^[A-Z][A-Z0-9_-]{0,31}$/.test(method))
    throw new ConfigError(`method ${JSON.stringify(method)} is none: write it in upper case, like GET`);
  const body = explainCall(model, {
    ...{ caller: text("caller"), service: text("service"), namespace: query.get("namespace") ?? "default" },
    ...{ method, path: text("path"), headers: headersOf(query.getAll("header")) },
  });
  return { status: 200, body };
}

function headersOf(fields: readonly string[]): readonly string[] {
  if (fields.length > maxHeaders) throw new ConfigError(`more than ${maxHeaders} headers`);
  return fields.flatMap((field) => {
    const [, name, value] =
      /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):\s*([\x20-\x7e]{0,1024})$/.exec(field) ?? [];
    if (name === undefined || value === undefined)
      throw new ConfigError(
        `header ${JSON.stringify(field.slice(0, 100))} is none: write it like x-user:ada`,
      );
    return [name, value];
  });
}
