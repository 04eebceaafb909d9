// The explorer's page: its form, its views, and its keys.

import { find, findAll } from "./dom.js";
import { searchAll } from "./hits.js";
import { drawHistogram, loadCollection } from "./histogram.js";
import { drawMap, showMap } from "./map.js";
import { closeNodule, opened, showNoduleOfAddress } from "./nodule.js";
import { setWindow } from "./slice_view.js";
import { FILTERS, readAddress, SEARCH_FIELDS, state, writeAddress } from "./state.js";

const TYPING_MS = 60;
const LUNG_WINDOW_HU = [-600, 1500]; // level and width

function showCompared() {
  const isCompared = state.q2 !== null;
  find("#compare").setAttribute("aria-pressed", String(isCompared));
  document.body.classList.toggle("comparing", isCompared);
  for (const element of findAll('.sentence[data-pane="1"], .pane[data-pane="1"]')) element.hidden = !isCompared;
}

function showValues() {
  find("#alpha-value").textContent = `${Math.round(100 * Number(state.alpha))} %`;
  find("#softness-value").textContent = `${Number(state.softness)} mm`;
  const used = FILTERS.filter((name) => state[name] !== "").length;
  find("#filters-used").textContent = used ? `(${used} in use)` : "";
}

function showState() {
  for (const name of [...SEARCH_FIELDS, "q", "q2"]) find(`#${name}`).value = state[name] ?? "";
  setWindow(...LUNG_WINDOW_HU);
  find("#filters").open ||= FILTERS.some((name) => state[name] !== "");
  showValues();
  showCompared();
  showMap();
  searchAll();
  showNoduleOfAddress();
}

let typing = 0;
find("#search-form").addEventListener("input", (event) => {
  state[event.target.name] = event.target.value;
  showValues();
  clearTimeout(typing);
  typing = setTimeout(() => { writeAddress(); searchAll(); }, event.target.type === "range" ? 0 : TYPING_MS);
});
find("#search-form").addEventListener("submit", (event) => event.preventDefault());
find("#compare").addEventListener("click", () => {
  state.q2 = state.q2 === null ? "a small lung nodule" : null;
  find("#q2").value = state.q2 ?? "";
  writeAddress(true);
  showCompared();
  searchAll();
  drawHistogram();
  find(state.q2 === null ? "#q" : "#q2").focus();
});
find("#show-map").addEventListener("click", () => { state.map = state.map === null ? "1" : null; writeAddress(true); showMap(); });
find("#copy-address").addEventListener("click", async () => {
  const button = find("#copy-address"), text = button.textContent;
  const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
  button.textContent = copied ? "Copied" : "Copy it from the address bar";
  setTimeout(() => { button.textContent = text; }, 2000);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && opened) { closeNodule(); event.preventDefault(); }
  if (event.key === "/" && !event.target.matches("input, select")) { find("#q").focus(); find("#q").select(); event.preventDefault(); }
});
addEventListener("popstate", () => { readAddress(); showState(); });
addEventListener("resize", () => { drawMap(); drawHistogram(); });

showState();
loadCollection();
