/** Says a line into the chat of the address that `remora run` gives it, and prints what it hears of it. */
import { once } from "node:events";
import { WebSocket } from "ws";

const socket = new WebSocket((process.env["CHAT_URL"] ?? "").replace("http:", "ws:"));
await once(socket, "open");
socket.send("hello");
const [data] = (await once(socket, "message")) as [Buffer];
console.log(`heard ${data.toString()}`);
socket.close(1000);
const [code] = (await once(socket, "close")) as [number];
console.log(`closed ${code}`);
