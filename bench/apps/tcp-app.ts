/**
 * The application of the TCP suite: `node tcp-app.js PORT`. The first byte of a connection says what is done with the rest:
 * `e` echoes it, `s` swallows it and says a line with the number of bytes after each MiB.
 */
import net from "node:net";

const reportBytes = 2 ** 20;

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
  let reported = 0;
  socket.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    const whole = Math.floor(bytes / reportBytes) * reportBytes;
    if (whole === reported) return;
    reported = whole;
    socket.write(`${whole}\n`);
  });
  socket.on("end", () => socket.end());
}
