/** An ordinary client: searches 40 times and prints the time of the slowest answer as JSON. */
const timesMs: number[] = [];
for (let i = 0; i < 40; i++) {
  const startMs = performance.now();
  const response = await fetch(`${process.env["SEARCH_URL"]}/?q=${i}`);
  await response.text();
  if (response.status === 200) timesMs.push(Math.round(performance.now() - startMs));
}
console.log(JSON.stringify({ answers: timesMs.length, slowestMs: Math.max(...timesMs) }));
