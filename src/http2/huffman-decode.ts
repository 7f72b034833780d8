import { HpackError } from "./hpack-error.js";
import { endOfString, huffmanCodes, huffmanLengths } from "./huffman-code.js";

/**
 * The decoder as a table, four bits at a step: entry [state * 16 + bits] holds the next state (bits 0-8), and the symbol that
 * was completed on the way plus one (bits 9-17; 0 = none: the shortest code has five bits). A state is an inner node of the
 * code's tree; 16 KiB of table stay in the first cache, which one step per byte would not.
 */
const noState = 0x1ff;
const symbolShift = 9;
const { steps, mayEnd } = buildTable();

let scratch = Buffer.allocUnsafeSlow(4096);

/** The text (latin1) of Huffman-coded bytes. Throws HpackError for EOS or wrong padding (RFC 7541 §5.2). */
export function huffmanDecode(bytes: Buffer, from: number, to: number): string {
  // The shortest code has five bits.
  const most = Math.ceil(((to - from) * 8) / 5);
  if (scratch.length < most) scratch = Buffer.allocUnsafeSlow(most * 2);
  const out = scratch;
  let length = 0;
  let state = 0;
  for (let i = from; i < to; i++) {
    const byte = bytes[i] as number;
    let step = steps[(state << 4) | (byte >> 4)] as number;
    if (step >= 1 << symbolShift) out[length++] = (step >> symbolShift) - 1;
    state = step & noState;
    if (state === noState) throw new HpackError("end of string inside of Huffman-coded text");
    step = steps[(state << 4) | (byte & 15)] as number;
    if (step >= 1 << symbolShift) out[length++] = (step >> symbolShift) - 1;
    state = step & noState;
    if (state === noState) throw new HpackError("end of string inside of Huffman-coded text");
  }
  if (mayEnd[state] !== 1) throw new HpackError("wrong padding of Huffman-coded text");
  return out.toString("latin1", 0, length);
}

interface Node {
  readonly state: number;
  /** Depth if all bits so far are ones and may be padding; else 99. */
  readonly onesDepth: number;
  readonly children: [Node | number | undefined, Node | number | undefined];
}

function buildTable(): { readonly steps: Int32Array; readonly mayEnd: Uint8Array } {
  const nodes: Node[] = [];
  const newNode = (onesDepth: number): Node => {
    const node: Node = { state: nodes.length, onesDepth, children: [undefined, undefined] };
    nodes.push(node);
    return node;
  };
  const root = newNode(0);
  for (let symbol = 0; symbol <= endOfString; symbol++) {
    const length = huffmanLengths[symbol] as number;
    const code = huffmanCodes[symbol] as number;
    let node = root;
    for (let bit = length - 1; bit > 0; bit--) {
      const way = (code >>> bit) & 1;
      const next = node.children[way] ?? newNode(way === 1 ? node.onesDepth + 1 : 99);
      node.children[way] = next;
      node = next as Node;
    }
    node.children[code & 1] = symbol;
  }
  const steps = new Int32Array(nodes.length * 16);
  for (const node of nodes)
    for (let bits = 0; bits < 16; bits++) steps[node.state * 16 + bits] = walk(root, node, bits);
  return { steps, mayEnd: Uint8Array.from(nodes, ({ onesDepth }) => (onesDepth <= 7 ? 1 : 0)) };
}

function walk(root: Node, start: Node, bits: number): number {
  let node = start;
  let symbol = -1;
  for (let bit = 3; bit >= 0; bit--) {
    const next = node.children[(bits >> bit) & 1];
    if (next === endOfString || next === undefined) return noState;
    if (typeof next === "number") {
      symbol = next;
      node = root;
    } else node = next;
  }
  return node.state | ((symbol + 1) << symbolShift);
}
