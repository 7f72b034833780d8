/** An ordinary gRPC client: calls the address that `remora run` gives it, and prints who answered as JSON. */
import { Metadata, credentials, type ClientDuplexStream } from "@grpc/grpc-js";
import { Greeter, type Greeting, type Name } from "./greeter.js";

const address = (process.env["GREETER_URL"] ?? "").replace("http://", "");
const client = new Greeter(address, credentials.createInsecure());
/** Key: instance. */
type Counts = Record<string, number>;

function greet(metadata: Metadata): Promise<Greeting> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, greeting?: Greeting): void =>
      greeting === undefined ? reject(error ?? new Error("no greeting")) : resolve(greeting);
    client["Greet"]?.({ name: "world" }, metadata, { deadline: Date.now() + 5000 }, done);
  });
}

/** Ten at a time. */
async function greetMany(count: number, metadata: Metadata): Promise<Counts> {
  const counts: Counts = {};
  for (let n = 0; n < count; n += 10)
    for (const { instance } of await Promise.all(Array.from({ length: 10 }, () => greet(metadata))))
      counts[instance] = (counts[instance] ?? 0) + 1;
  return counts;
}

async function greetAll(names: readonly string[]): Promise<string[]> {
  const call = client["GreetAll"]?.() as ClientDuplexStream<Name, Greeting>;
  for (const name of names) call.write({ name });
  call.end();
  const texts: string[] = [];
  for await (const { text } of call as AsyncIterable<Greeting>) texts.push(text);
  return texts;
}

const beta = new Metadata();
beta.set("x-user", "beta");
console.log(
  JSON.stringify({
    everybody: await greetMany(100, new Metadata()),
    beta: await greetMany(10, beta),
    stream: await greetAll(["Ada", "Grace"]),
  }),
);
client.close();
