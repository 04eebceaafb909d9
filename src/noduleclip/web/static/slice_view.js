// The slice as it is drawn: window, section, box and outlines.

import { find, findAll, make } from "./dom.js";
import { opened } from "./nodule.js";
import { fetchAnswer } from "./server.js";

export const view = find("#slice canvas");
const level = find("#level"), width = find("#width");
let showsWholeSlice = true, showsOutlines = true;

export async function fetchSlice(row, at = null) {
  const response = await fetchAnswer(`/api/slice/${row}`, at === null ? {} : { at });
  const [height, width] = response.headers.get("X-Shape").split(",").map(Number);
  const spacing = response.headers.get("X-Spacing-Mm");
  const [pixelHeight_mm, pixelWidth_mm] = spacing ? spacing.split(",").map(Number) : [1, 1];
  const hu = new Int16Array(await response.arrayBuffer());
  const canvas = make("canvas", { width, height });
  return { hu, width, height, pixelHeight_mm, pixelWidth_mm, canvas, pixels: new ImageData(width, height) };
}

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
  find("#level-value").textContent = `${level.value} HU`;
  find("#width-value").textContent = `${width.value} HU`;
  if (!opened?.slice) { view.getContext("2d").clearRect(0, 0, view.width, view.height); return; }
  const { slice, nodule, stack, at } = opened, [left, top, right, bottom] = nodule.box;
  const shown = stack ? stack.slices[at] : nodule.slice;
  applyWindow(slice);
  let x = 0, y = 0, columns = slice.width, rows = slice.height; // the section that is drawn, in pixels of the slice
  if (!showsWholeSlice) {
    const side_mm = Math.max(60, 2 * (right - left) * slice.pixelWidth_mm, 2 * (bottom - top) * slice.pixelHeight_mm);
    columns = side_mm / slice.pixelWidth_mm; rows = side_mm / slice.pixelHeight_mm;
    x = (left + right + 1) / 2 - columns / 2; y = (top + bottom + 1) / 2 - rows / 2;
  }
  view.width = 1024;
  view.height = Math.round((1024 * rows * slice.pixelHeight_mm) / (columns * slice.pixelWidth_mm));
  const pen = view.getContext("2d"), across = view.width / columns, down = view.height / rows;
  pen.drawImage(slice.canvas, x, y, columns, rows, 0, 0, view.width, view.height);
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

export function setWindow(levelHu, widthHu) {
  level.value = levelHu;
  width.value = widthHu;
  drawSlice();
}

let dragStart = null;
view.addEventListener("pointerdown", (event) => {
  dragStart = [event.clientX, event.clientY];
  view.setPointerCapture(event.pointerId);
});
view.addEventListener("pointermove", (event) => {
  if (!dragStart) return;
  const [byWidth, byLevel] = [10 * Math.round((event.clientX - dragStart[0]) / 2), 10 * Math.round((event.clientY - dragStart[1]) / 2)];
  if (!byWidth && !byLevel) return;
  dragStart = [event.clientX, event.clientY];
  setWindow(Number(level.value) + byLevel, Number(width.value) + byWidth);
});
for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, () => { dragStart = null; });
for (const slider of [level, width]) slider.addEventListener("input", drawSlice);
for (const button of findAll("[data-level]")) button.addEventListener("click", () => setWindow(button.dataset.level, button.dataset.width));

function showToggles() {
  find("#toggle-whole").setAttribute("aria-pressed", String(showsWholeSlice));
  find("#toggle-outlines").setAttribute("aria-pressed", String(showsOutlines));
  drawSlice();
}
find("#toggle-whole").addEventListener("click", () => { showsWholeSlice = !showsWholeSlice; showToggles(); });
find("#toggle-outlines").addEventListener("click", () => { showsOutlines = !showsOutlines; showToggles(); });
