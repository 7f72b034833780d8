/**
 * The application of the TCP suite: `node tcp-app.js PORT`. The first byte of a connection says what is done with the rest:
 * `e` echoes it, `s` swallows it and says at the end how many bytes there were.
 */
import net from "node:net";

const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
  socket.on("error", () => socket.destroy());
  socket.once("data", (first: Buffer) => {
    const rest = first.subarray(1);
    if (first[0] === 0x65) echo(socket, rest);
    else swallow(socket, rest.length);
  });
});
server.listen(Number(process.argv[2]), "127.0.0.1");

function echo(socket: net.Socket, first: Buffer): void {
  if (first.length > 0) socket.write(first);
  socket.pipe(socket);
}

function swallow(socket: net.Socket, count: number): void {
  let bytes = count;
  socket.on("data", (chunk: Buffer) => (bytes += chunk.length));
  socket.on("end", () => socket.end(`${bytes}\n`));
}
