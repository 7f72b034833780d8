/** An ordinary client: calls the address that `remora run` gives it, and prints what it got. */
const url = process.env["PRICES_URL"] ?? "";
const tea = await fetch(`${url}/tea`);
console.log(`GET: ${tea.status} ${await tea.text()}`);
const order = await fetch(`${url}/orders`, { method: "POST", body: "two teas" });
console.log(`POST: ${order.status} ${await order.text()}`);
