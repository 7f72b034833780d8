import { freePorts } from "../../examples/demo/free-ports.js";

/** A port of 127.0.0.1 that nobody uses; never given out again, neither here nor by test files that run at the same time. */
export async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}
