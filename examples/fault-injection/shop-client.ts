/** An ordinary client: calls the addresses that `remora run` gives it, and prints what it got and how long it took. */
async function get(service: string, user: string): Promise<string> {
  const startMs = performance.now();
  const url = process.env[`${service.toUpperCase()}_URL`] ?? "";
  const response = await fetch(url, { headers: { "x-user": user } });
  const pace = performance.now() - startMs >= 1000 ? "slow" : "quick";
  return `${service} ${user}: ${response.status} ${response.headers.get("x-remora-fault") ?? "-"} ${pace}`;
}

console.log(await get("payment", "customer"));
console.log(await get("payment", "tester"));
console.log(await get("inventory", "customer"));
while ((await get("payment", "tester")).includes("abort"))
  await new Promise((resolve) => setTimeout(resolve, 100));
console.log(await get("payment", "tester"));
console.log(await get("inventory", "customer"));
