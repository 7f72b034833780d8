/** An ordinary WebSocket server: passes what one says to all, with the name that the mesh has proven. PORT from the environment. */
import { WebSocket, WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.env["PORT"]) });
server.on("connection", (socket, request) => {
  const caller = String(request.headers["x-remora-caller"] ?? "somebody")
    .split("/")
    .at(-1);
  socket.on("message", (data) => {
    for (const client of server.clients)
      if (client.readyState === WebSocket.OPEN) client.send(`${caller}: ${(data as Buffer).toString()}`);
  });
});
process.once("SIGTERM", () => {
  for (const client of server.clients) client.close(1001, "going away");
  server.close(() => process.exit(0));
});
