/** Who a caller is by its connection. */
import t from "tap";
import { peerOf, type PeerCall } from "../../control-plane/peer.js";

const nobody = {
  id: undefined,
  identity: undefined,
  certificateSerial: undefined,
  certificateNotBeforeMs: undefined,
  certificateNotAfterMs: undefined,
};

t.test("whoever has left in the middle of a call is nobody, and no error", async (t) => {
  const gone: PeerCall = {
    getPeer: () => "10.0.0.7:4711",
    getAuthContext: () => {
      throw new TypeError("Cannot read properties of null (reading 'raw')");
    },
  };
  t.same(peerOf(gone), { ...nobody, address: "10.0.0.7" });
  t.same(peerOf({ ...gone, getAuthContext: () => ({}) }), { ...nobody, address: "10.0.0.7" });
});
