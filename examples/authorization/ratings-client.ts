/** An ordinary HTTP client: asks for a few things at the address that `remora run` gives it, and prints what it got. Its argument is its name. */
const url = process.env["RATINGS_URL"] ?? "";
const asked: readonly (readonly [method: string, path: string])[] = [
  ["GET", "/ratings/7"],
  ["POST", "/ratings/7"],
  ["GET", "/ratings/internal"],
  ["GET", "/ratings//intern%61l;v=1"],
];
for (const [method, path] of asked) {
  const response = await fetch(new URL(url).origin + path, { method });
  const text = (await response.text()).trim();
  const by = response.headers.get("x-remora-denied-by");
  console.log(`${process.argv[2]} ${method} ${path}: ${response.status} ${by ?? text}`);
}
