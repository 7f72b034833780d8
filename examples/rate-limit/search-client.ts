/** An ordinary HTTP client: sends as many requests as its argument says to the address that `remora run` gives it, and prints how many passed as JSON. */
const url = process.env["SEARCH_URL"] ?? "";
const count = Number(process.argv[2]);
let passed = 0;
let refused = 0;
let retryAfter = "";
for (let n = 0; n < count; n++) {
  const response = await fetch(url);
  await response.text();
  if (response.ok) passed++;
  else {
    refused++;
    retryAfter = response.headers.get("retry-after") ?? "";
  }
}
console.log(JSON.stringify({ passed, refused, retryAfter }));
