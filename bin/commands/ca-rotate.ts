import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { RotationView } from "../../control-plane/ca/rotate.js";
import { openAdminClient, type AdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { CommandError, exitCodes, UsageError } from "../failure.js";
import { caLines } from "../output/ca-lines.js";
import { printJson, printLines } from "../output/print.js";
import type { caRotateSettings } from "../settings/client-settings.js";
import type { Values } from "../settings/setting.js";
import type { Terminal } from "../terminal.js";

type Settings = Values<typeof caRotateSettings>;

/** How often sidecars are looked at while they are waited for. */
const lookMs = 500;

/** `remora ca rotate`: one step, or with --auto all of them. */
export const caRotate: CommandBody<typeof caRotateSettings> = async (settings, _operands, terminal) => {
  const step = stepOf(settings);
  const client = await openAdminClient(settings, terminal);
  const view = step === "auto" ? await all(client, settings, terminal) : await one(client, step, settings);
  if (settings.output === "json") printJson(terminal, view);
  else printLines(terminal, caLines(view));
  return exitCodes.ok;
};

function stepOf({ activate, finish, abort, auto, force, from }: Settings) {
  const wished = Object.entries({ activate, finish, abort, auto }).filter(([, isWished]) => isWished);
  if (wished.length > 1) throw new UsageError(`--${wished[1]?.[0]}`, "one step at a time");
  const step = (wished[0]?.[0] ?? "prepare") as "prepare" | "activate" | "finish" | "abort" | "auto";
  if (force && step !== "activate" && step !== "finish")
    throw new UsageError("--force", "goes with --activate or --finish only");
  if (from !== undefined && step !== "prepare" && step !== "auto")
    throw new UsageError("--from", "names the next CA, where a rotation begins");
  return step;
}

async function one(
  client: AdminClient,
  step: "prepare" | "activate" | "finish" | "abort",
  { force, from }: Settings,
): Promise<RotationView> {
  const wish = {
    do: step,
    ...(step === "prepare" && from !== undefined && { from: path.resolve(from) }),
    ...((step === "activate" || step === "finish") && { force }),
  };
  return (await client.post("/v1/ca/rotate", JSON.stringify(wish))) as RotationView;
}

/** From wherever the rotation stands to its end; stopped half way, it can be called again. */
async function all(client: AdminClient, settings: Settings, terminal: Terminal): Promise<RotationView> {
  const { clock } = terminal;
  const giveUpAtMs = clock.monotonicMs() + settings.timeout;
  const tell = (text: string): void => {
    if (settings.output !== "json") printLines(terminal, [text]);
  };
  const waitFor = async (wanted: RotationView["step"]): Promise<void> => {
    for (;;) {
      const view = (await client.get("/v1/ca")) as RotationView;
      if (view.step === wanted) return;
      if (clock.monotonicMs() >= giveUpAtMs) {
        const late = view.lagging.map(({ id, reason }) => `${id} ${reason}`).join("; ");
        throw new CommandError(`the rotation waits at "${view.step}" (${late}): see remora ca status`);
      }
      // Not the clock's, whose timers keep no process alive.
      await sleep(lookMs);
    }
  };
  let { step } = (await client.get("/v1/ca")) as RotationView;
  if (step === "idle") {
    await one(client, "prepare", settings);
    tell("prepared: waiting until every connected sidecar believes the new CA");
    step = "prepared";
  }
  if (step === "prepared" || step === "distributed") {
    await waitFor("distributed");
    await one(client, "activate", { ...settings, force: false });
    tell("active: waiting until every connected sidecar has a certificate of the new CA");
  }
  await waitFor("renewed");
  return one(client, "finish", { ...settings, force: false });
}
