/** docs/cli.md says what the command line does. */
import { readFileSync } from "node:fs";
import t from "tap";
import { commands } from "../../bin/commands.js";
import { environmentOf, flagOf } from "../../bin/settings/setting.js";
import { referenceFile, withReference } from "../support/cli-reference.js";

const text = readFileSync(referenceFile, "utf8");

t.test("the reference is that of the commands", async (t) => {
  t.equal(text, withReference(text), "else: node dist/test/support/cli-reference.js");
});

t.test("what the prose names exists", async (t) => {
  const settings = commands.flatMap((command) => Object.keys(command.settings));
  const flags = new Set([...settings.map(flagOf), "--help", "--version"]);
  const variables = new Set([...settings.map(environmentOf), "REMORA_DEBUG", "REMORA_IDENTITY"]);
  const [prose = ""] = text.split("<!-- reference");
  for (const [flag] of prose.matchAll(/(?<![\w-])--[a-z][a-z-]+/g)) t.ok(flags.has(flag), flag);
  for (const [variable] of prose.matchAll(/REMORA_[A-Z_]*[A-Z]/g)) t.ok(variables.has(variable), variable);
  for (const [, name = ""] of prose.matchAll(/`remora ([a-z][a-z -]*?[a-z])(?= [-A-Z<[]|`)/g))
    t.ok(
      commands.some((command) => command.name === name || command.name.split(" ")[0] === name),
      `remora ${name}`,
    );
});
