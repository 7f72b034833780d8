/** What an operator reads of a control plane that cannot be reached. */
import { Client, credentials } from "@grpc/grpc-js";
import t from "tap";
import { connectFailure } from "../../src/discovery/connect-failure.js";
import { observationService } from "../../src/discovery/proto/observation.js";
import { unaryCall } from "../../src/discovery/unary-call.js";
import { systemClock } from "../../src/time/clock.js";

const ofGrpc = (error: string): string =>
  `14 UNAVAILABLE: No connection established. Last error: ${error}. Resolution note: `;

t.test("the cause alone, and clocks by their name", async (t) => {
  const table = [
    [ofGrpc("Error: connect ECONNREFUSED 127.0.0.1:15012"), "connect ECONNREFUSED 127.0.0.1:15012"],
    [
      ofGrpc("Error: certificate is not yet valid"),
      "by the clock of this machine its certificate is not yet valid: compare the clocks of both machines",
    ],
    ["16 UNAUTHENTICATED: the certificate was revoked", "16 UNAUTHENTICATED: the certificate was revoked"],
  ] as const;
  for (const [text, told] of table) t.equal(connectFailure(text), told);
});

t.test("what this version of grpc-js says is understood", async (t) => {
  const client = new Client("dns:///127.0.0.1:1", credentials.createInsecure());
  t.teardown(() => client.close());
  const limits = { clock: systemClock, timeoutMs: 5000 };
  const call = unaryCall(client, observationService.Report, { calls: [], lost: 0 }, limits);
  const error = await call.then(
    () => new Error("it was answered"),
    (failure: Error) => failure,
  );
  t.match(connectFailure(error.message), /^connect ECONNREFUSED 127\.0\.0\.1:1( |$)/);
});
