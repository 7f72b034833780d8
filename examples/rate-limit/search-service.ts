/** An ordinary HTTP server; nothing in it knows of limits. PORT from the environment. */
import { createServer } from "node:http";

createServer((_, response) => response.end("found\n")).listen(Number(process.env["PORT"]), "127.0.0.1");
