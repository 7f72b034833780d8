import { ProxyError } from "../errors/proxy-error.js";

/** Of requests whose connection was closed by its pool. */
export const retiredError = new ProxyError("upstream_closed", "connection pool closed");

/** Of requests that were never sent. */
export const closedError = new ProxyError("upstream_unprocessed", "connection pool closed");
