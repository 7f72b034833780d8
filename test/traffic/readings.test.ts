/** Properties of what authorization reads addresses and paths with. */
import { BlockList, isIPv4, SocketAddress } from "node:net";
import fc from "fast-check";
import t from "tap";
import { ipBytes, isInBlock, parseIpBlock } from "../../src/traffic/ip-block.js";
import { normalizeTarget } from "../../src/traffic/path.js";
import { pathReadings } from "../../src/traffic/path-readings.js";

const address = fc.oneof(fc.ipV4(), fc.ipV6());

t.test("blocks agree with node's own", async (t) => {
  fc.assert(
    fc.property(address, fc.ipV4(), fc.ipV6(), fc.nat(128), (text, v4, v6, length) => {
      for (const base of [v4, v6, text]) {
        const family = isIPv4(base) ? "ipv4" : "ipv6";
        const bits = family === "ipv4" ? length % 33 : length;
        const block = parseIpBlock(`${base}/${bits}`);
        const bytes = ipBytes(text);
        // Mapped addresses are IPv4 here, which node leaves to the caller.
        if (block === undefined || bytes === undefined || block.bytes.length !== (family === "ipv4" ? 4 : 16))
          continue;
        if ((bytes.length === 4) !== isIPv4(text)) continue;
        const list = new BlockList();
        list.addSubnet(new SocketAddress({ address: base, family }), bits);
        const expected = isIPv4(text) === isIPv4(base) && list.check(text, isIPv4(text) ? "ipv4" : "ipv6");
        if (isInBlock(bytes, block) !== expected) return false;
      }
      return true;
    }),
    { numRuns: 2000 },
  );
  t.pass("compared");
});

t.test("what is no address is none", async (t) => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const block = parseIpBlock(text);
      return block === undefined || (block.bits >= 0 && block.bits <= block.bytes.length * 8);
    }),
    { numRuns: 2000 },
  );
  for (const bad of [
    "",
    "/8",
    "10.0.0.0/",
    "10.0.0.0/8/8",
    "fe80::1%eth0",
    "::ffff:1.2.3.4/95",
    "1.2.3",
    "0x7f.1",
  ])
    t.equal(parseIpBlock(bad), undefined, bad);
});

/** A path, and the same with some characters encoded that need not be, slashes doubled, and dot segments put in. */
const spelling = fc
  .array(fc.tuple(fc.stringMatching(/^[a-z0-9:@!$&'()*+,=~_-]{1,6}$/), fc.nat(0xff), fc.nat(5)), {
    minLength: 1,
    maxLength: 4,
  })
  .map((segments) => {
    const plain = segments.map(([text]) => `/${text}`).join("");
    const spelt = segments
      .map(([text, mask, decoration]) => {
        const encoded = [...text]
          .map((c, at) => (mask & (1 << at) ? `%${c.charCodeAt(0).toString(16)}` : c))
          .join("");
        return `${["/", "//", "/./", "/x/../", "/%2e/", "/y/%2E%2e/"][decoration] ?? "/"}${encoded}`;
      })
      .join("");
    return { plain, spelt };
  });

t.test("however a path is spelt, it is read as the same one", async (t) => {
  fc.assert(
    fc.property(spelling, ({ plain, spelt }) => {
      const canonical = normalizeTarget(spelt);
      return canonical !== undefined && pathReadings(canonical)[0] === plain;
    }),
    { numRuns: 2000 },
  );
  t.pass("read");
});

t.test("parameters hide no segment", async (t) => {
  fc.assert(
    fc.property(spelling, fc.stringMatching(/^[;=a-z0-9]{0,8}$/), ({ plain, spelt }, parameters) => {
      const canonical = normalizeTarget(`${spelt};${parameters}`);
      return canonical !== undefined && pathReadings(canonical).at(-1) === plain;
    }),
    { numRuns: 2000 },
  );
  t.pass("read");
});
