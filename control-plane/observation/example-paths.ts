import type { AuthorizationConfig } from "../../src/config/authorization-config.js";
import { pathShape } from "../../src/traffic/path-shape.js";

/** Of one shape. */
const maxExamples = 64;
/** What a `*` may have stood for, of each kind one. */
const anyOne = ["1", "4711", "0f8fad5b-d9cb-469f-a165-70867728950e", "ada@example.com"];
const number = "1234567";

/**
 * What else a `*` may have stood for, as far as these configurations could tell it apart: the words of their path
 * conditions, alone and as part of something longer.
 */
export function notableSegments(configs: readonly AuthorizationConfig[]): readonly string[] {
  const matches = configs.flatMap(({ stages }) =>
    stages
      .flatMap(({ policies }) => policies)
      .flatMap(({ rules }) => rules)
      .flatMap(({ from = [], to = [], when = [] }) => [...from.flat(), ...to.flat(), ...when])
      .filter(({ attribute }) => attribute === "request.path")
      .flatMap(({ values = [], notValues = [] }) => [...values, ...notValues]),
  );
  const words = matches.flatMap(({ value }) => value.split(/[/{}*]+/)).filter((word) => word !== "");
  const longer = words.flatMap((word) => [word, `${word}${number}`, `${number}${word}`]);
  return [...new Set(longer)].filter((word) => /^[\x21-\x7e]+$/.test(word) && pathShape(`/${word}`) === "/*");
}

/** Paths that have this shape; itself when it has only one. */
export function examplePaths(shape: string, notable: readonly string[]): readonly string[] {
  const parts = shape.split("*");
  if (parts.length === 1) return [shape];
  const segments = [...anyOne, ...notable];
  const all = segments.map((segment) => parts.join(segment));
  // One place at a time: conditions on two of them at once are rare, and the places before it are as they were.
  const single = parts
    .slice(1)
    .flatMap((_, place) =>
      notable.map((segment) =>
        parts.reduce((path, part, at) => `${path}${at - 1 === place ? segment : anyOne[0]}${part}`),
      ),
    );
  return [...new Set([...all, ...(parts.length > 2 ? single : [])])].slice(0, maxExamples);
}
