import { openControlPlaneChannel } from "../../src/discovery/channel.js";
import type { Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { registerEmbedded, type EmbeddedRegistration } from "../../src/registration/embedded.js";
import { systemClock as clock } from "../../src/time/clock.js";
import type { RemoraMesh } from "../planes/remora-mesh.js";
import { openSvidIssuer } from "./svid-issuer.js";

/** The service whose endpoints change. */
export const changingService = "api";

/** Changes the endpoints of one service in a registry; each call is one change. */
export interface EndpointChanges {
  /** Process.hrtime at which the registry was told. */
  next(): Promise<bigint>;
  close(): Promise<void>;
}

/** Two instances in the embedded registry, of which one gets well and ill in turns. */
export async function changeEmbedded(mesh: Pick<RemoraMesh, "dataDir" | "listen">): Promise<EndpointChanges> {
  const issue = await openSvidIssuer(mesh.dataDir);
  const certificates = new LatestValue<Svid | undefined>(issue(changingService));
  const channel = openControlPlaneChannel({ controlPlane: mesh.listen, certificates, clock });
  const register = async (id: string, meshPort: number): Promise<EmbeddedRegistration> => {
    const registration = registerEmbedded({
      client: channel.client,
      clock,
      instance: {
        ...{ id, service: changingService, namespace: "default", address: "127.0.0.1", meshPort },
        ...{ appPort: 0, protocol: "http", weight: 1, zone: "", meta: [] },
      },
    });
    await registration.isRegistered.until((isThere) => isThere);
    return registration;
  };
  const steady = await register("steady", 901);
  const changing = await register("changing", 902);
  let isWell = true;
  return {
    next() {
      isWell = !isWell;
      const atNs = process.hrtime.bigint();
      changing.setStatus(isWell ? "passing" : "critical");
      return Promise.resolve(atNs);
    },
    async close() {
      await Promise.all([steady.close(), changing.close()]);
      channel.close();
    },
  };
}

/** An instance in Consul whose sidecar moves from port to port: registered anew, as after a restart. */
export function changeConsul(url: string): EndpointChanges {
  let port = 1000;
  const put = async (body: unknown): Promise<void> => {
    const answer = await fetch(`${url}/v1/agent/service/register`, {
      method: "PUT",
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`consul: ${answer.status} ${await answer.text()}`);
    await answer.arrayBuffer();
  };
  const place = { Address: "127.0.0.1", Meta: { protocol: "http" } };
  return {
    async next() {
      port++;
      // The service itself stays as it is.
      if (port === 1001) await put({ ID: "api-1", Name: changingService, Port: 900, ...place });
      const atNs = process.hrtime.bigint();
      await put({
        ...{
          Kind: "connect-proxy",
          ID: "api-1-sidecar-proxy",
          Name: "api-sidecar-proxy",
          Port: port,
          ...place,
        },
        Proxy: { DestinationServiceName: changingService, DestinationServiceID: "api-1" },
      });
      return atNs;
    },
    close: () => Promise.resolve(),
  };
}
