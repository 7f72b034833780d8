/** Row 71: no instance is at a port of the control plane's own, however its address is written. */
import t from "tap";
import { createOwnPorts } from "../../control-plane/own-ports.js";

t.test("own ports in other words, and those that only look like them", async (t) => {
  const own = createOwnPorts();
  for (const address of ["127.0.0.1:9001", "0.0.0.0:9002", "[::1]:9003", "[::]:9004"]) own.add(address);
  const table: readonly (readonly [address: string, port: number, isOwn: boolean])[] = [
    ["127.0.0.1", 9001, true],
    ["::ffff:127.0.0.1", 9001, true],
    ["::ffff:7f00:1", 9001, true],
    ["::1", 9001, false],
    ["127.0.0.1", 9005, false],
    ["127.8.0.1", 9002, true],
    ["::ffff:7f08:1", 9002, true],
    ["10.0.0.1", 9002, false],
    ["0:0:0:0:0:0:0:1", 9003, true],
    ["127.0.0.1", 9003, false],
    ["127.0.0.1", 9004, true],
    ["::1", 9004, true],
  ];
  for (const [address, port, isOwn] of table)
    t.equal(own.refuse(address, port) !== undefined, isOwn, `${address} port ${port}`);
});
