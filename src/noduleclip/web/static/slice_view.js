// The slice as it is drawn: window, section, box, outlines and a bar of known length.

import { find, findAll, make } from "./dom.js";
import { opened } from "./nodule.js";
import { fetchAnswer } from "./server.js";

export const view = find("#slice canvas");
const level = find("#level"), width = find("#width");
const LARGEST_ZOOM = 40;
const NODULE_MM = 60; // side of the section around a nodule, or twice its box
const BARS_MM = [5, 10, 20, 50, 100];

// The section that is drawn: `zoom` times enlarged around a place in pixels of the slice. `mode` is what it shows of
// the next nodule: the whole slice, the nodule, or the same zoom around it.
const section = { mode: "whole", zoom: 1, x: 0, y: 0 };
let showsOutlines = true;

export async function fetchSlice(row, at = null) {
  const response = await fetchAnswer(`/api/slice/${row}`, at === null ? {} : { at });
  const [height, width] = response.headers.get("X-Shape").split(",").map(Number);
  const spacing = response.headers.get("X-Spacing-Mm");
  const [pixelHeight_mm, pixelWidth_mm] = spacing ? spacing.split(",").map(Number) : [1, 1];
  const hu = new Int16Array(await response.arrayBuffer());
  const canvas = make("canvas", { width, height });
  return { hu, width, height, pixelHeight_mm, pixelWidth_mm, hasSpacing: Boolean(spacing), canvas, pixels: new ImageData(width, height) };
}

// Section

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function setSection(mode, zoom, x, y) {
  const { slice } = opened;
  Object.assign(section, { mode, zoom: clamp(zoom, 1, LARGEST_ZOOM) });
  section.x = clamp(x, slice.width / 2 / section.zoom, slice.width * (1 - 0.5 / section.zoom));
  section.y = clamp(y, slice.height / 2 / section.zoom, slice.height * (1 - 0.5 / section.zoom));
}

// Show of a newly opened nodule what was shown of the last one.
export function resetSection() {
  if (!opened?.slice) return;
  const { slice, nodule: { box: [left, top, right, bottom] } } = opened;
  const x = (left + right + 1) / 2, y = (top + bottom + 1) / 2;
  const side_mm = Math.max(NODULE_MM, 2 * (right - left) * slice.pixelWidth_mm, 2 * (bottom - top) * slice.pixelHeight_mm);
  const zoom = { whole: 1, nodule: Math.min(slice.width * slice.pixelWidth_mm, slice.height * slice.pixelHeight_mm) / side_mm };
  setSection(section.mode, zoom[section.mode] ?? section.zoom, x, y);
}

function showSection(mode) {
  section.mode = mode;
  resetSection();
  drawSlice();
}

// Zoom by a factor; the place in fractions of the view stays where it is.
function zoomBy(factor, across = 0.5, down = 0.5) {
  if (!opened?.slice) return;
  const { slice } = opened, before = section.zoom, after = clamp(before * factor, 1, LARGEST_ZOOM);
  const shift = 1 / before - 1 / after;
  setSection(after === 1 ? "whole" : "zoom", after, section.x + (across - 0.5) * slice.width * shift, section.y + (down - 0.5) * slice.height * shift);
  drawSlice();
}

// Move the section by fractions of what is shown.
function moveBy(across, down) {
  if (!opened?.slice) return;
  const { slice } = opened;
  const mode = section.mode === "whole" ? "whole" : "zoom";
  setSection(mode, section.zoom, section.x + (across * slice.width) / section.zoom, section.y + (down * slice.height) / section.zoom);
  drawSlice();
}

// Drawing

function applyWindow({ hu, canvas, pixels }) {
  const low = Number(level.value) - Number(width.value) / 2, scale = 255 / Number(width.value);
  const shown = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < hu.length; i += 1) {
    const grey = Math.min(255, Math.max(0, (hu[i] - low) * scale)) | 0;
    shown[i] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

export function drawSlice() {
  showControls();
  const pen = view.getContext("2d");
  if (!opened?.slice || !opened.nodule) { pen.clearRect(0, 0, view.width, view.height); return; }
  const { slice, nodule, stack, at } = opened, [left, top, right, bottom] = nodule.box;
  const shown = stack ? stack.slices[at] : nodule.slice;
  applyWindow(slice);
  const columns = slice.width / section.zoom, rows = slice.height / section.zoom;
  const x = section.x - columns / 2, y = section.y - rows / 2;
  view.width = 1024;
  view.height = Math.round((1024 * rows * slice.pixelHeight_mm) / (columns * slice.pixelWidth_mm));
  const across = view.width / columns, down = view.height / rows;
  pen.drawImage(slice.canvas, x, y, columns, rows, 0, 0, view.width, view.height);
  if (slice.hasSpacing) drawBar(pen, (columns * slice.pixelWidth_mm) / view.width);
  if (!showsOutlines) return;
  pen.lineWidth = 2;
  pen.strokeStyle = "#ffb000";
  if (!stack || at === stack.at) pen.strokeRect((left - x) * across, (top - y) * down, (right - left + 1) * across, (bottom - top + 1) * down);
  pen.strokeStyle = "#40e0ff";
  const drawCurves = (curves, lineWidth, opacity) => {
    pen.lineWidth = lineWidth;
    pen.globalAlpha = opacity;
    for (const curve of curves) {
      pen.beginPath();
      for (const [column, row] of curve) pen.lineTo((column + 0.5 - x) * across, (row + 0.5 - y) * down);
      pen.closePath();
      pen.stroke();
    }
  };
  if (shown.outlines.length > 1) drawCurves(shown.outlines, 1.5, 0.6);
  drawCurves(shown.mean, 3, 1);
}

function drawBar(pen, mmPerPixel) {
  const length_mm = BARS_MM.findLast((mm) => mm / mmPerPixel <= view.width / 4) ?? BARS_MM[0];
  const right = view.width - 30, y = view.height - 30;
  pen.font = "26px system-ui, sans-serif";
  pen.textAlign = "right";
  pen.lineWidth = 5;
  for (const [colour, shift] of [["#000", 2], ["#fff", 0]]) {
    pen.fillStyle = pen.strokeStyle = colour;
    pen.fillText(`${length_mm} mm`, right + shift, y - 12 + shift);
    pen.beginPath();
    pen.moveTo(right - length_mm / mmPerPixel + shift, y + shift);
    pen.lineTo(right + shift, y + shift);
    pen.stroke();
  }
}

export function setWindow(levelHu, widthHu) {
  level.value = levelHu;
  width.value = widthHu;
  drawSlice();
}

// Controls

let dragMoves = false;

function showControls() {
  find("#level-value").textContent = `${level.value} HU`;
  find("#width-value").textContent = `${width.value} HU`;
  find("#zoom-value").textContent = `× ${section.zoom.toFixed(1)}`;
  find("#zoom-out").disabled = section.zoom <= 1;
  find("#zoom-in").disabled = section.zoom >= LARGEST_ZOOM;
  const pressed = { "#show-whole": section.mode === "whole", "#show-nodule": section.mode === "nodule", "#drag-moves": dragMoves, "#toggle-outlines": showsOutlines };
  for (const [button, isPressed] of Object.entries(pressed)) find(button).setAttribute("aria-pressed", String(isPressed));
  view.classList.toggle("moves", dragMoves);
  view.classList.toggle("zoomed", section.zoom > 1);
}

const pointers = new Map(); // where each finger or the mouse is, in pixels of the page
const widthOf = () => view.getBoundingClientRect().width;
const heightOf = () => view.getBoundingClientRect().height;

view.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  view.setPointerCapture(event.pointerId);
  if (event.button === 1) event.preventDefault(); // the middle button would scroll the page
});
view.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const now = [event.clientX, event.clientY], [byX, byY] = [now[0] - before[0], now[1] - before[1]];
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  if (other) { // two fingers: their distance zooms, their middle moves
    const distance = (from) => Math.hypot(from[0] - other[0], from[1] - other[1]) || 1;
    const area = view.getBoundingClientRect();
    zoomBy(distance(now) / distance(before), ((now[0] + other[0]) / 2 - area.left) / area.width, ((now[1] + other[1]) / 2 - area.top) / area.height);
    moveBy(-byX / 2 / area.width, -byY / 2 / area.height);
  } else if (dragMoves || event.shiftKey || event.buttons === 4 || (event.pointerType === "touch" && section.zoom > 1)) {
    moveBy(-byX / widthOf(), -byY / heightOf());
  } else {
    const [byWidth, byLevel] = [10 * Math.round(byX / 2), 10 * Math.round(byY / 2)];
    if (!byWidth && !byLevel) return;
    setWindow(Number(level.value) + byLevel, Number(width.value) + byWidth);
  }
  pointers.set(event.pointerId, now);
});
for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, (event) => pointers.delete(event.pointerId));
view.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return; // a wheel alone steps through the slices
  event.preventDefault();
  const area = view.getBoundingClientRect();
  zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, (event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height);
}, { passive: false });
view.addEventListener("dblclick", () => showSection(section.mode === "nodule" ? "whole" : "nodule"));

// What a key does on the slice; null where it does nothing.
export function findSliceAction({ key, shiftKey }) {
  const moves = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
  if (shiftKey && moves[key]) return () => moveBy(...moves[key]);
  const zooms = { "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(0.8), 0: () => showSection("whole") };
  return zooms[key] ?? null;
}

for (const slider of [level, width]) slider.addEventListener("input", drawSlice);
for (const button of findAll("[data-level]")) button.addEventListener("click", () => setWindow(button.dataset.level, button.dataset.width));
find("#zoom-in").addEventListener("click", () => zoomBy(1.25));
find("#zoom-out").addEventListener("click", () => zoomBy(0.8));
find("#show-whole").addEventListener("click", () => showSection("whole"));
find("#show-nodule").addEventListener("click", () => showSection("nodule"));
find("#drag-moves").addEventListener("click", () => { dragMoves = !dragMoves; showControls(); });
find("#toggle-outlines").addEventListener("click", () => { showsOutlines = !showsOutlines; drawSlice(); });
