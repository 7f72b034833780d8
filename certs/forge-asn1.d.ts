/** Only forge's DER writer is loaded: a quarter of the time and memory of the whole package. */
declare module "node-forge/lib/asn1.js" {
  import { asn1 } from "node-forge";
  export default asn1;
}
