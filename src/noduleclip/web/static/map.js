// The map of the collection: a point per row, coloured by diameter, with rings around the hits.

import { find } from "./dom.js";
import { answeredPanes } from "./hits.js";
import { openNodule } from "./nodule.js";
import { fetchAnswer } from "./server.js";
import { state } from "./state.js";

const LARGEST_MM = 25;
const COLOURS = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];
const NEAR_PX = 20;
const chart = find("#map canvas");
let points = null; // { rows, values, places }: values has x, y and diameter of each row, places its pixels

function colourOf(mm) {
  if (!Number.isFinite(mm)) return "#888";
  const at = (Math.min(mm, LARGEST_MM) / LARGEST_MM) * (COLOURS.length - 1), low = Math.min(Math.floor(at), COLOURS.length - 2);
  return `rgb(${COLOURS[low].map((part, i) => Math.round(part + (at - low) * (COLOURS[low + 1][i] - part))).join(",")})`;
}

export async function showMap() {
  find("#map").hidden = state.map === null;
  find("#show-map").setAttribute("aria-pressed", String(state.map !== null));
  if (state.map === null) return;
  if (!points) {
    const answer = await fetchAnswer("/api/map").catch((error) => { find("#map-caption").textContent = error.message; });
    if (!answer) return;
    const bytes = await answer.arrayBuffer(), number = bytes.byteLength / 16;
    points = { rows: new Uint32Array(bytes, 0, number), values: new Float32Array(bytes, 4 * number) };
    const legend = find("#legend").getContext("2d");
    for (let x = 0; x < 160; x += 1) { legend.fillStyle = colourOf((x / 160) * LARGEST_MM); legend.fillRect(x, 0, 1, 10); }
  }
  drawMap();
}

export function drawMap() {
  if (state.map === null || !points) return;
  const { rows, values } = points, sharpness = devicePixelRatio, width = chart.clientWidth, height = chart.clientHeight;
  chart.width = width * sharpness; chart.height = height * sharpness;
  let [lowX, highX, lowY, highY] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < rows.length; i += 1) {
    lowX = Math.min(lowX, values[3 * i]); highX = Math.max(highX, values[3 * i]);
    lowY = Math.min(lowY, values[3 * i + 1]); highY = Math.max(highY, values[3 * i + 1]);
  }
  points.places = Array.from(rows, (_, i) => [
    12 + ((width - 24) * (values[3 * i] - lowX)) / (highX - lowX || 1),
    height - 12 - ((height - 24) * (values[3 * i + 1] - lowY)) / (highY - lowY || 1),
  ]);
  const pen = chart.getContext("2d");
  pen.scale(sharpness, sharpness);
  const side = rows.length > 5000 ? 3 : 5;
  points.places.forEach(([x, y], i) => { pen.fillStyle = colourOf(values[3 * i + 2]); pen.fillRect(x - side / 2, y - side / 2, side, side); });
  const places = new Map(Array.from(rows, (row, i) => [row, points.places[i]]));
  for (const { number, answer } of answeredPanes()) {
    pen.strokeStyle = number ? "#f0a060" : "#fff";
    pen.lineWidth = 1.5;
    for (const hit of answer.hits.filter(({ row }) => places.has(row))) {
      pen.beginPath();
      pen.arc(...places.get(hit.row), 6 + 2 * number, 0, 2 * Math.PI);
      pen.stroke();
    }
  }
}

chart.addEventListener("click", (event) => {
  if (!points) return;
  let nearest = null, least = NEAR_PX ** 2;
  points.places.forEach(([x, y], i) => {
    const distance = (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2;
    if (distance < least) { least = distance; nearest = points.rows[i]; }
  });
  if (nearest !== null) openNodule(nearest, find("#show-map"));
});
