/** An ordinary HTTP client: asks ORDERS_URL for each of its arguments, like `GET:/orders/7`, and prints what it was answered. */
const url = process.env["ORDERS_URL"] ?? "";
for (const wish of process.argv.slice(2)) {
  const [method = "", path = ""] = wish.split(":");
  const response = await fetch(`${url}${path}`, { method });
  console.log(`${method} ${path}: ${response.status}`);
  await response.text();
}
