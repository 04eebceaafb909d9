// The explorer's page: its form, its views, and its keys.

import { drawCharts, showCharts } from "./charts.js";
import { find, findAll } from "./dom.js";
import { searchAll, setOnChange } from "./hits.js";
import { drawHistogram, loadCollection } from "./histogram.js";
import { closeNodule, goToHit, opened, showNoduleOfAddress } from "./nodule.js";
import { goToSlice, stepSlices } from "./slice_stack.js";
import { findSliceAction, setWindow, view } from "./slice_view.js";
import { FORM_FIELDS, readAddress, state, usedFilters, writeAddress } from "./state.js";

const TYPING_MS = 60;
const LUNG_WINDOW_HU = [-600, 1500]; // level and width
const NARROW = matchMedia("(max-width: 40rem)");

function showCompared() {
  const isCompared = state.q2 !== null;
  find("#compare").setAttribute("aria-pressed", String(isCompared));
  document.body.classList.toggle("comparing", isCompared);
  for (const element of findAll('.sentence[data-pane="1"], .pane[data-pane="1"]')) element.hidden = !isCompared;
}

function showValues() {
  find("#alpha-value").textContent = `${Math.round(100 * Number(state.alpha))} %`;
  find("#softness-value").textContent = `${Number(state.softness)} mm`;
  find("#min_probability-value").textContent = Number(state.min_probability) ? Number(state.min_probability).toFixed(2) : "none";
  const used = usedFilters().length;
  find("#filters-used").textContent = used ? `(${used} filter${used === 1 ? "" : "s"} in use)` : "";
}

function showForm() {
  for (const name of [...FORM_FIELDS, "q", "q2", "sort"]) find(`#${name}`).value = state[name] ?? "";
  find("#filters").open ||= usedFilters().length > 0;
  showValues();
  showCompared();
}

function showState() {
  showForm();
  setWindow(...LUNG_WINDOW_HU);
  showCharts();
  searchAll();
  showNoduleOfAddress();
}

let typing = 0;
find("#search-form").addEventListener("input", (event) => {
  state[event.target.name] = event.target.value;
  if (event.target.type === "search") state.free_text = null; // it was allowed for another sentence
  showValues();
  clearTimeout(typing);
  typing = setTimeout(() => { writeAddress(); searchAll(); }, event.target.type === "range" ? 0 : TYPING_MS);
});
find("#search-form").addEventListener("submit", (event) => event.preventDefault());
setOnChange(() => { showForm(); searchAll(); });
find("#compare").addEventListener("click", () => {
  state.q2 = state.q2 === null ? "a small lung nodule" : null;
  writeAddress(true);
  showForm();
  searchAll();
  drawHistogram();
  find(state.q2 === null ? "#q" : "#q2").focus();
});
find("#show-map").addEventListener("click", () => { state.map = state.map === null ? "1" : null; writeAddress(true); showCharts(); });
find("#copy-address").addEventListener("click", async () => {
  const button = find("#copy-address"), text = button.textContent;
  const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
  button.textContent = copied ? "Copied" : "Copy it from the address bar";
  setTimeout(() => { button.textContent = text; }, 2000);
});

// Keys on the open nodule: arrows step through slices and hits; on the slice there are more.
find("#nodule").addEventListener("keydown", (event) => {
  if (!event.target.matches("canvas, #nodule-title") || event.ctrlKey || event.altKey || event.metaKey || !opened) return;
  const steps = {
    ArrowUp: () => stepSlices(1), ArrowDown: () => stepSlices(-1), Home: () => goToSlice(opened.stack?.at),
    ArrowLeft: () => goToHit(-1, `#${event.target.id || "slice canvas"}`), ArrowRight: () => goToHit(1, `#${event.target.id || "slice canvas"}`),
  };
  const action = (event.target === view && findSliceAction(event)) || (event.shiftKey ? null : steps[event.key]);
  if (action) { event.preventDefault(); action(); }
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && opened) { closeNodule(); event.preventDefault(); }
  if (event.key === "/" && !event.target.matches("input:not([type=range], [type=checkbox]), select")) { find("#q").focus(); find("#q").select(); event.preventDefault(); }
});
addEventListener("popstate", () => { readAddress(); showState(); });
addEventListener("resize", () => { drawCharts(); drawHistogram(); });

find("#controls").open = !NARROW.matches;
showState();
loadCollection();
