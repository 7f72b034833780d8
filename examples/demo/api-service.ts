/** The called service of the demo: tells which instance answered and whom it saw calling. PORT, NAME and DELAY_MS from the environment. */
import { createServer } from "node:http";

const name = process.env["NAME"] ?? "api";
const delayMs = Number(process.env["DELAY_MS"] ?? 0);
let isFailing = false;
let served = 0;

const server = createServer((request, response) => {
  const path = new URL(request.url ?? "/", "http://api").pathname;
  const json = (status: number, body: unknown): void => {
    response.writeHead(status, { "content-type": "application/json" }).end(`${JSON.stringify(body)}\n`);
  };
  // The demo reaches these two on the application's own port, past the mesh.
  if (path === "/served") return json(200, { served });
  if (path === "/fail") return json(200, { isFailing: (isFailing = request.method === "POST") });
  served++;
  if (isFailing) return json(503, { instance: name, error: "failing on demand" });
  const waitMs = path === "/slow" ? 1000 : delayMs;
  setTimeout(() => json(200, { instance: name, caller: request.headers["x-remora-caller"] ?? null }), waitMs);
});
server.listen(Number(process.env["PORT"]), "127.0.0.1");
process.once("SIGTERM", () => server.close(() => process.exit(0)));
