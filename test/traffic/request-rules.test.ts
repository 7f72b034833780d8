/** What every codec refuses alike: methods, lengths, protocols to change to. */
import t from "tap";
import type { ProxyError } from "../../src/errors/proxy-error.js";
import { parseContentLength } from "../../src/traffic/content-length.js";
import { refuseMethod } from "../../src/traffic/method.js";
import { tunnelProtocol } from "../../src/traffic/tunnel-protocol.js";

t.test("methods", async (t) => {
  const codeOf = (method: string): string => {
    try {
      refuseMethod(method);
      return "";
    } catch (error) {
      return (error as ProxyError).code;
    }
  };
  for (const method of ["GET", "POST", "M-SEARCH", "QUERY"]) t.equal(codeOf(method), "");
  for (const method of ["CONNECT", "TRACE", "get", "Get", "M".repeat(33)]) {
    t.equal(codeOf(method), "method_not_supported", method);
  }
  t.equal(codeOf("PRI"), "malformed_request");
});

t.test("lengths", async (t) => {
  t.strictSame(["0", "5", "010", "9007199254740991"].map(parseContentLength), [0, 5, 10, 9007199254740991]);
  for (const text of ["", "-1", "+5", "5 ", "5, 5", "0x5", "5_0", "9007199254740992", "0".repeat(17), "٣"]) {
    t.ok(Number.isNaN(parseContentLength(text)), text);
  }
});

t.test("protocols to change to", async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ["websocket", "websocket"],
    ["WebSocket", "websocket"],
    ["foo/2", "foo/2"],
    ["", ""],
    ["h2c", ""],
    ["HTTP/2.0", ""],
    ["TLS/1.0", ""],
    ["tcp", ""],
    ["tcpx", "tcpx"],
    ["websocket, foo", ""],
    ["a b", ""],
  ];
  for (const [text, wanted] of cases) t.equal(tunnelProtocol(text), wanted, text);
});
