/** Calls a mesh port with its own certificate, past its sidecar, and shows a token to whoever asks for one. */
import { request } from "node:https";
import { text } from "node:stream/consumers";
import { WorkloadIdentity, type X509Identity } from "./workload-identity.js";

const [port = ""] = process.argv.slice(2);
const workload = new WorkloadIdentity();

const identity = await new Promise<X509Identity>((resolve) => {
  const stop = workload.follow((first) => {
    stop();
    resolve(first);
  });
});
console.log(`I am ${identity.spiffeId}`);

const answer = await new Promise<string>((resolve, reject) => {
  const { key, cert, ca } = identity;
  const call = request(
    { host: "127.0.0.1", port, key, cert, ca, checkServerIdentity: isReports },
    (response) => resolve(text(response)),
  );
  call.once("error", reject);
  call.end();
});
console.log(answer);

const token = await workload.token("https://partner.example");
console.log(`the token proves ${await workload.validate(token, "https://partner.example")}`);
const elsewhere = await workload
  .validate(token, "https://other.example")
  .catch((error: Error) => error.message);
console.log(`elsewhere: ${elsewhere}`);
workload.close();

/** A service is known by its SPIFFE id, not by an address. */
function isReports(
  _host: string,
  { subjectaltname }: { readonly subjectaltname?: string },
): Error | undefined {
  const expected = identity.spiffeId.replace(/[^/]+$/, "reports");
  return subjectaltname === `URI:${expected}` ? undefined : new Error(`not ${expected}`);
}
