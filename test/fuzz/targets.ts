import type { FuzzTarget } from "./fuzz-target.js";
import { chunkedTarget, http1RequestTarget, http1ResponseTarget } from "./http1-targets.js";
import {
  frameTarget,
  hpackDecoderTarget,
  hpackEncoderTarget,
  http2HeadTarget,
  meshHeadTarget,
} from "./http2-targets.js";
import { relayTargets } from "./relay-targets.js";
import {
  authorityTarget,
  grpcTimeoutTarget,
  headerCaseTarget,
  huffmanTarget,
  pathTarget,
} from "./text-targets.js";

/** Everything that is fuzzed. */
export const fuzzTargets: readonly FuzzTarget[] = [
  authorityTarget,
  pathTarget,
  grpcTimeoutTarget,
  headerCaseTarget,
  huffmanTarget,
  http1RequestTarget,
  http1ResponseTarget,
  chunkedTarget,
  hpackDecoderTarget,
  hpackEncoderTarget,
  http2HeadTarget,
  meshHeadTarget,
  frameTarget,
  ...relayTargets,
];
