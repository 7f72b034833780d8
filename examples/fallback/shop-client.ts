/** An ordinary client: calls the addresses that `remora run` gives it, and prints what it got. */
const calls = [
  ["POST", "payment", "/"],
  ["GET", "recommendations", "/"],
  ["GET", "prices", "/tea"],
  ["GET", "prices", "/break"],
  ["GET", "prices", "/tea"],
  ["GET", "prices", "/coffee"],
] as const;

for (const [method, service, path] of calls) {
  const response = await fetch(`${process.env[`${service.toUpperCase()}_URL`]}${path}`, { method });
  const marks = ["x-remora-fallback", "x-remora-error"].map((field) => response.headers.get(field) ?? "-");
  console.log(`${method} ${service}${path}: ${response.status} ${marks.join(" ")}, ${await response.text()}`);
}
