import type { RouteConfig, VirtualHost } from "../config/snapshot.js";
import { hostOf } from "../traffic/authority.js";
import type { RequestHead } from "../traffic/message.js";
import { pathEndOf } from "../traffic/path.js";
import { coversHost, HostMap } from "./host.js";
import { compileMatch, type Condition } from "./matcher.js";

/**
 * Which prepared route a request takes. Built once per snapshot, immutable, pure; matching does not allocate unless a
 * route's regular expression or query condition asks for it. head.target and
 * head.authority must be canonical (traffic/path.ts, traffic/authority.ts).
 */
export class RouteTable<T> {
  readonly #byHost: HostMap<VirtualHostTable<T>>;
  /** Key: name of the virtual host, `<service>.<namespace>`. */
  readonly #byService: ReadonlyMap<string, VirtualHostTable<T>>;

  private constructor(
    byHost: HostMap<VirtualHostTable<T>>,
    byService: ReadonlyMap<string, VirtualHostTable<T>>,
  ) {
    this.#byHost = byHost;
    this.#byService = byService;
  }

  /**
   * `prepare` is called once per route and its result is what matching returns (the route's stack). Throws ConfigError
   * naming the route's document when one of its regular expressions is not acceptable.
   */
  static build<T>(
    virtualHosts: readonly VirtualHost[],
    prepare: (virtualHost: VirtualHost, route: RouteConfig) => T,
  ): RouteTable<T> {
    const byHost = new HostMap<VirtualHostTable<T>>();
    const byService = new Map<string, VirtualHostTable<T>>();
    for (const virtualHost of virtualHosts) {
      const table = new VirtualHostTable(
        virtualHost.routes.map((route) => new Entry(route, prepare(virtualHost, route))),
      );
      byService.set(virtualHost.name, table);
      for (const domain of virtualHost.domains) byHost.add(domain, table);
    }
    return new RouteTable(byHost, byService);
  }

  /** For the host-routed outbound port: by the authority without its port, and routes' hostnames count. */
  byHost(head: RequestHead): T | undefined {
    const host = hostOf(head.authority);
    return this.#byHost.find(host)?.matchAt(head, host);
  }

  /** For a local port that stands for one service. undefined while the service is not known. */
  byService(name: string): VirtualHostTable<T> | undefined {
    return this.#byService.get(name);
  }

  /** True when the outbound port serves this authority at all: tells "unknown host" from "no route matches". */
  knowsHost(authority: string): boolean {
    return this.#byHost.find(hostOf(authority)) !== undefined;
  }
}

/** The routes of one service, in order of precedence. Made by RouteTable.build. */
export class VirtualHostTable<T> {
  readonly #entries: readonly Entry<T>[];

  constructor(entries: readonly Entry<T>[]) {
    this.#entries = entries;
  }

  /** The first route that matches; hostnames are ignored because the port has chosen the service already. */
  match(head: RequestHead): T | undefined {
    return this.#find(head, undefined);
  }

  /** As match(), but a route with hostnames must cover `host` (without port). */
  matchAt(head: RequestHead, host: string): T | undefined {
    return this.#find(head, host);
  }

  #find(head: RequestHead, host: string | undefined): T | undefined {
    const pathEnd = pathEndOf(head.target);
    for (const entry of this.#entries) {
      if ((host === undefined || entry.serves(host)) && entry.matches(head, pathEnd)) return entry.value;
    }
    return undefined;
  }
}

class Entry<T> {
  readonly value: T;
  readonly #hostnames: readonly string[];
  readonly #conditions: readonly Condition[];

  constructor(route: RouteConfig, value: T) {
    this.value = value;
    this.#hostnames = route.hostnames;
    this.#conditions = compileMatch(route.match, route.source);
  }

  serves(host: string): boolean {
    const hostnames = this.#hostnames;
    return hostnames.length === 0 || hostnames.some((pattern) => coversHost(pattern, host));
  }

  matches(head: RequestHead, pathEnd: number): boolean {
    for (const condition of this.#conditions) if (!condition(head, pathEnd)) return false;
    return true;
  }
}
