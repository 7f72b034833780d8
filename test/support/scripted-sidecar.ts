import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { SupervisedSidecar } from "../../src/supervise/supervised.js";

/** A sidecar that does what the test says and writes down what it was asked. */
export class ScriptedSidecar implements SupervisedSidecar {
  readonly identity = "spiffe://mesh.test/ns/default/svc/web";
  readonly missing = new LatestValue<readonly string[]>(["configuration"]);
  /** Steps in the order they were asked for, and what `note` added. */
  readonly steps: string[] = [];
  /** Key: a step; runs in place of it. */
  readonly scripts = new Map<string, () => Promise<void>>();
  ports: SupervisedSidecar["ports"] = { outbound: undefined, upstreams: new Map() };
  readonly tcpUpstreams: SupervisedSidecar["tcpUpstreams"] = new Set();
  #upstream: ReturnType<typeof createServer> | undefined;

  /** Opens a port that stands for upstream `api`, answers every request, and shuts with the sidecar. */
  async openUpstream(onRequest: (url: string) => void): Promise<void> {
    const server = createServer((request, response) => {
      onRequest(request.url ?? "");
      response.end("ok");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    this.#upstream = server;
    this.ports = { outbound: 15_001, upstreams: new Map([["api", (server.address() as AddressInfo).port]]) };
  }

  announce(): Promise<void> {
    return this.#step("announce");
  }

  withdraw(): Promise<void> {
    return this.#step("withdraw");
  }

  drainInbound(): Promise<void> {
    return this.#step("drain");
  }

  async close(): Promise<void> {
    this.#upstream?.close();
    this.#upstream?.closeAllConnections();
    await this.#step("close");
  }

  async #step(name: string): Promise<void> {
    this.steps.push(name);
    await this.scripts.get(name)?.();
  }
}
