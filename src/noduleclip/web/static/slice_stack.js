// Steps through the slices of a nodule's series, from the feet to the head.

import { find, setMessage } from "./dom.js";
import { opened } from "./nodule.js";
import { drawSlice, fetchSlice, view } from "./slice_view.js";
import { state, writeAddress } from "./state.js";

const STEP_PX = 40; // of a wheel that turns smoothly
const MOST_KEPT = 60; // slices
const slider = find("#slice-number");

export function showStack(mine, stack) {
  mine.stack = stack;
  mine.at = stack.at;
  find("#slice-steps").hidden = stack.slices.length < 2;
  slider.max = stack.slices.length - 1;
  view.dataset.at = stack.at; // the slice that is drawn
  showPosition();
  if (state.at !== null) goToSlice(Number(state.at));
}

export function goToSlice(at) {
  if (!opened?.stack || Number.isNaN(at)) return;
  const wanted = Math.min(Math.max(at, 0), opened.stack.slices.length - 1);
  if (wanted === opened.at) return;
  opened.at = wanted;
  state.at = wanted === opened.stack.at ? null : String(wanted);
  writeAddress();
  showPosition();
  loadSlice(opened);
}

export const stepSlices = (count) => goToSlice(opened?.at + count);

async function loadSlice(mine) {
  if (mine.isLoading) return; // one at a time; the place where the steps ended is loaded last
  mine.isLoading = true;
  let at = null;
  while (opened === mine && at !== mine.at) {
    at = mine.at;
    const slice = await fetchOnce(mine, at).catch((error) => error);
    if (opened !== mine) return;
    const failed = slice instanceof Error;
    setMessage(find("#slice-message"), failed ? `The slice cannot be shown: ${slice.message}` : "", failed);
    mine.slice = failed ? null : slice;
    drawSlice();
    view.dataset.at = at;
  }
  mine.isLoading = false;
  for (const next of [at + 1, at - 1]) if (mine.stack.slices[next]) fetchOnce(mine, next).catch(() => {});
}

function fetchOnce(mine, at) {
  if (!mine.slices.has(at)) {
    if (mine.slices.size > MOST_KEPT) mine.slices.clear();
    mine.slices.set(at, fetchSlice(mine.row, at));
  }
  return mine.slices.get(at);
}

function showPosition() {
  const { stack, at } = opened, { z_mm, outlines } = stack.slices[at], isEmbedded = at === stack.at;
  const outlined = outlines.length ? `, outlined by ${outlines.length}` : ", not outlined";
  slider.value = at;
  find("#slice-position").textContent = `${at + 1} of ${stack.slices.length}`
    + `${z_mm === null ? "" : `, z ${z_mm.toFixed(1)} mm`}${outlined}${isEmbedded ? ", embedded" : ""}`;
  find("#slice-up").disabled = at === stack.slices.length - 1;
  find("#slice-down").disabled = at === 0;
  find("#embedded-slice").disabled = isEmbedded;
}

slider.addEventListener("input", () => goToSlice(Number(slider.value)));
find("#slice-up").addEventListener("click", () => stepSlices(1));
find("#slice-down").addEventListener("click", () => stepSlices(-1));
find("#embedded-slice").addEventListener("click", () => goToSlice(opened.stack.at));

let turnedPx = 0;
view.addEventListener("wheel", (event) => {
  if (event.ctrlKey || !(opened?.stack?.slices.length > 1)) return;
  event.preventDefault();
  turnedPx = Math.sign(turnedPx) === Math.sign(event.deltaY) ? turnedPx : 0;
  turnedPx += event.deltaMode === 0 ? event.deltaY : STEP_PX * Math.sign(event.deltaY);
  const steps = Math.trunc(turnedPx / STEP_PX);
  if (steps) { turnedPx -= steps * STEP_PX; stepSlices(-Math.sign(steps)); }
}, { passive: false });
