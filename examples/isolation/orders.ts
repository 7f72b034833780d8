/** Works on eight requests at once, 40 ms each: 200 a second. Others wait in its queue, however long that gets. */
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const waiting: (() => void)[] = [];
let atWork = 0;

async function work(): Promise<void> {
  if (atWork < 8) atWork++;
  else await new Promise<void>((resolve) => waiting.push(resolve));
  await sleep(40);
  const next = waiting.shift();
  if (next === undefined) atWork--;
  else next();
}

createServer((request, response) => {
  void work().then(() => response.end(`${String(request.headers["x-remora-priority"])}\n`));
}).listen(Number(process.env["PORT"]), "127.0.0.1");
