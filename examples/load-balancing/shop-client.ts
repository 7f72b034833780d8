/** An ordinary HTTP client: asks the addresses that `remora run` gives it, and prints who answered as JSON. */
const reviews = process.env["REVIEWS_URL"] ?? "";
const cart = process.env["CART_URL"] ?? "";

/** Which instance answered how often. */
async function ask(
  url: string,
  count: number,
  headers: Record<string, string> = {},
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let n = 0; n < count; n++) {
    const name = (await (await fetch(url, { headers })).text()).split(" ")[0] ?? "";
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

const everybody = await ask(reviews, 200);
const testers = await ask(reviews, 20, { "x-user": "tester" });
const missing = await fetch(`${reviews}/next`);
const next = `${missing.status}, ${(await missing.text()).trim()}`;

const strangers = Object.keys(await ask(cart, 60)).length;
const given = (await fetch(cart)).headers.get("set-cookie") ?? "";
const pair = given.split(";")[0] ?? "";
const returning = Object.keys(await ask(cart, 40, { cookie: pair })).length;
const cookie = given.replace(/=[0-9a-f]{16};/, "=…;");
console.log(JSON.stringify({ everybody, testers, next, strangers, cookie, returning }));
