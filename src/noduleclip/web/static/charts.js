// The map of the collection, a point per row coloured by diameter, and beside it the model's estimates of diameters
// against the measured ones.

import { find, findAll, setMessage } from "./dom.js";
import { formatCount } from "./format.js";
import { answeredPanes } from "./hits.js";
import { openNodule } from "./nodule.js";
import { PointChart } from "./point_chart.js";
import { fetchAnswer } from "./server.js";
import { state } from "./state.js";

const LARGEST_MM = 25;
const COLOURS = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];
const RING_COLOURS = ["#fff", "#f0a060"];
const MARGIN_PX = 12, AXIS_PX = 34;
const LEAST_AXIS_MM = 10, TICK_MM = 10;

const [mapCanvas, , scatterCanvas] = findAll("#map canvas");
const openPoint = (row) => openNodule(row, find("#show-map"));
const map = new PointChart(mapCanvas, openPoint), scatter = new PointChart(scatterCanvas, openPoint);
let points = null; // { rows, x, y, measured, estimated }, a number of each row; NaN in mm where there is none

function colourOf(mm) {
  if (!Number.isFinite(mm)) return "#888";
  const at = (Math.min(mm, LARGEST_MM) / LARGEST_MM) * (COLOURS.length - 1), low = Math.min(Math.floor(at), COLOURS.length - 2);
  return `rgb(${COLOURS[low].map((part, i) => Math.round(part + (at - low) * (COLOURS[low + 1][i] - part))).join(",")})`;
}

export async function showCharts() {
  find("#map").hidden = state.map === null;
  find("#show-map").setAttribute("aria-pressed", String(state.map !== null));
  if (state.map === null) return;
  if (!points) {
    const answer = await fetchAnswer("/api/map").catch((error) => setMessage(find("#map-caption"), error.message, true));
    if (!answer) return;
    points = readPoints(await answer.arrayBuffer());
    const legend = find("#legend").getContext("2d");
    for (let x = 0; x < 160; x += 1) { legend.fillStyle = colourOf((x / 160) * LARGEST_MM); legend.fillRect(x, 0, 1, 10); }
  }
  drawCharts();
}

// Row numbers, then four numbers for each of them.
function readPoints(bytes) {
  const count = bytes.byteLength / 20, values = new Float32Array(bytes, 4 * count);
  const [x, y, measured, estimated] = [0, 1, 2, 3].map((column) => Float32Array.from({ length: count }, (_, i) => values[4 * i + column]));
  return { rows: new Uint32Array(bytes, 0, count), x, y, measured, estimated };
}

export function drawCharts() {
  if (state.map === null || !points) return;
  const rings = answeredPanes().map(({ number, hits }) => ({ colour: RING_COLOURS[number], rows: hits.map(({ row }) => row) }));
  drawMap(rings);
  drawScatter(rings);
}

function drawMap(rings) {
  const { rows, x, y, measured, estimated } = points;
  const [lowX, highX] = findRange(x), [lowY, highY] = findRange(y);
  const toPlace = (i, width, height) => [
    MARGIN_PX + ((width - 2 * MARGIN_PX) * (x[i] - lowX)) / (highX - lowX || 1),
    height - MARGIN_PX - ((height - 2 * MARGIN_PX) * (y[i] - lowY)) / (highY - lowY || 1),
  ];
  map.draw(rows, toPlace, (i) => colourOf(Number.isNaN(measured[i]) ? estimated[i] : measured[i]), rings);
}

function findRange(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

function drawScatter(rings) {
  const known = [...points.rows.keys()].filter((i) => points.measured[i] >= 0 && points.estimated[i] >= 0);
  find("#scatter").hidden = known.length === 0;
  if (!known.length) return;
  const [rows, measured, estimated] = ["rows", "measured", "estimated"].map((name) => known.map((i) => points[name][i]));
  const largest = Math.ceil(Math.max(LEAST_AXIS_MM, ...measured, ...estimated) / TICK_MM) * TICK_MM;
  const toX = (mm, width) => AXIS_PX + ((width - AXIS_PX - MARGIN_PX) * mm) / largest;
  const toY = (mm, height) => height - AXIS_PX - ((height - AXIS_PX - MARGIN_PX) * mm) / largest;
  const drawAxes = (pen, width, height) => {
    pen.fillStyle = "#c8ced4";
    pen.strokeStyle = "#3a4048";
    pen.font = "12px system-ui, sans-serif";
    for (let mm = 0; mm <= largest; mm += TICK_MM) {
      pen.beginPath();
      pen.moveTo(toX(mm, width), toY(0, height)); pen.lineTo(toX(mm, width), toY(largest, height));
      pen.moveTo(toX(0, width), toY(mm, height)); pen.lineTo(toX(largest, width), toY(mm, height));
      pen.stroke();
      pen.textAlign = "center"; pen.fillText(String(mm), toX(mm, width), height - AXIS_PX + 15);
      pen.textAlign = "right"; pen.fillText(String(mm), AXIS_PX - 5, toY(mm, height) + 4);
    }
    pen.textAlign = "right"; pen.fillText("measured, mm", width - MARGIN_PX - 4, height - AXIS_PX - 8);
    pen.textAlign = "left"; pen.fillText("estimated, mm", AXIS_PX + 6, MARGIN_PX + 14);
    pen.strokeStyle = "#8a939c";
    pen.beginPath();
    pen.moveTo(toX(0, width), toY(0, height)); pen.lineTo(toX(largest, width), toY(largest, height));
    pen.stroke();
  };
  const toPlace = (i, width, height) => [toX(measured[i], width), toY(estimated[i], height)];
  scatter.draw(rows, toPlace, (i) => colourOf(measured[i]), rings, drawAxes);
  const differences = measured.map((mm, i) => Math.abs(mm - estimated[i])).sort((one, other) => one - other);
  find("#scatter-caption").textContent = `The model's estimate of the diameter against the measured one, of ${formatCount(rows.length)} with both; `
    + `half of the estimates are within ${differences[Math.floor(differences.length / 2)].toFixed(1)} mm. On the line they agree.`;
}
