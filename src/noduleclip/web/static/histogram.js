// The histogram of diameters, with the range of each sentence.

import { find, make, UNIT } from "./dom.js";
import { capitalize, formatCount } from "./format.js";
import { answeredPanes } from "./hits.js";
import { fetchJson } from "./server.js";

let collection = { bins: [], measured: 0, estimated: 0 };

export function drawHistogram() {
  const svg = find("#histogram svg"), { bins, measured, estimated } = collection;
  if (!bins.length) return;
  const width = svg.clientWidth, step = (width - 24) / bins.length, highest = Math.max(1, ...bins);
  const toX = (mm) => 12 + step * Math.min(Math.max(mm, 0), bins.length);
  const parts = bins.map((rows, mm) => {
    const height = rows ? Math.max(1, (90 * rows) / highest) : 0;
    const label = mm === bins.length - 1 ? `${mm} mm or more` : `${mm} to ${mm + 1} mm`;
    return make("rect", { class: "bar", x: toX(mm) + 1, y: 96 - height, width: step - 2, height },
      make("title", {}, `${label}: ${formatCount(rows)} ${UNIT}`));
  });
  for (let mm = 0; mm < bins.length; mm += 5) parts.push(make("text", { x: toX(mm), y: 113 }, mm === 40 ? "40+" : String(mm)));
  const ranges = [];
  for (const { number, answer, section } of answeredPanes()) {
    const range = answer.interval;
    if (!range) continue;
    const left = toX(range.low_mm), right = toX(range.high_mm ?? Infinity);
    parts.push(make("rect", { class: "range", "data-pane": number, x: left, y: 3, width: Math.max(2, right - left), height: 93 }));
    const isStale = section.classList.contains("stale"); // its range is shown until a sentence is understood
    ranges.push(`${number ? "second sentence" : "sentence"} ${isStale ? "before " : ""}read as ${range.text}`);
  }
  svg.setAttribute("viewBox", `0 0 ${width} 120`);
  svg.replaceChildren(...parts);
  const guessed = estimated ? `, ${formatCount(estimated)} estimated` : "";
  find("#histogram-caption").textContent = `${capitalize(UNIT)} by diameter in mm, ${formatCount(measured)} measured${guessed}; `
    + `${ranges.join("; ") || "the sentence has no size"}.`;
}

export async function loadCollection() {
  try {
    collection = await fetchJson("/api/collection");
  } catch (error) {
    find("#histogram-caption").textContent = error.message;
    return;
  }
  find("#columns").replaceChildren(...collection.columns.map((name) => make("option", { value: name })));
  drawHistogram();
}
