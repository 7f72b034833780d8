/** A server of a protocol of its own, which accepts no connections while the file BROKEN_FILE exists. */
import { existsSync } from "node:fs";
import net from "node:net";

const server = net.createServer((socket) => socket.on("error", () => socket.destroy()).pipe(socket));
const listen = (): void => void server.listen(Number(process.env["PORT"]), "127.0.0.1");

listen();
setInterval(() => {
  const isBroken = existsSync(process.env["BROKEN_FILE"] ?? "");
  if (isBroken && server.listening) server.close();
  if (!isBroken && !server.listening) listen();
}, 50);
