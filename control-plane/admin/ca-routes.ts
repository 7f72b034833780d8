import path from "node:path";
import { ConfigError } from "../../src/errors/config-error.js";
import type { Rotation, RotateWish } from "../ca/rotate.js";
import type { AdminReply, AdminRequest, AdminRoute } from "./admin-server.js";
import { readObject } from "./read-object.js";

/**
 * The CA, and how it is replaced.
 * @param rotation undefined: the CA is Consul's.
 */
export function caRoutes(rotation: Rotation | undefined): readonly AdminRoute[] {
  return [
    {
      method: "GET",
      path: "/v1/ca",
      role: "view",
      handle: () => ({ status: 200, body: ours(rotation).view() }),
    },
    {
      method: "POST",
      path: "/v1/ca/rotate",
      role: "admin",
      handle: async (request) => rotate(ours(rotation), request),
    },
  ];
}

function ours(rotation: Rotation | undefined): Rotation {
  if (rotation !== undefined) return rotation;
  throw new ConfigError("this mesh's CA is Consul's: rotate it there (consul connect ca set-config)");
}

/** Body: {do: "prepare", from?} or {do: "activate" or "finish", force?} or {do: "abort"}. */
async function rotate(rotation: Rotation, { body }: AdminRequest): Promise<AdminReply> {
  const wish = wishOf(readObject(body));
  return { status: 200, body: await rotation.rotate(wish), audit: { rotation: wish } };
}

function wishOf({ do: step, from, force }: Readonly<Record<string, unknown>>): RotateWish {
  switch (step) {
    case "prepare":
      if (from !== undefined && (typeof from !== "string" || !path.isAbsolute(from)))
        throw new ConfigError("from must be the whole path of a folder on the control plane's machine");
      return { do: step, from };
    case "activate":
    case "finish":
      return { do: step, isForced: force === true };
    case "abort":
      return { do: step };
    default:
      throw new ConfigError("do must be prepare, activate, finish or abort");
  }
}
