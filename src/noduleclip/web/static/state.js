// The state of the page: the address holds all of it but the selected hits.

import { GENERATION } from "./dom.js";

const DEFAULTS = {
  q: "a lung nodule with diameter > 6 mm", q2: null, alpha: "0.5", softness: "1.5", min_probability: "0", rule: "measured",
  min: "", max: "", patients: "", where: "", unique: "nodule", k: "24", free_text: null, sort: "score",
  row: null, at: null, map: null,
};
export const FILTERS = ["min", "max", "patients", "where"];
export const FORM_FIELDS = ["alpha", "softness", "min_probability", "rule", ...FILTERS, "unique", "k"];

export const state = {};

export function readAddress() {
  const given = new URLSearchParams(location.search);
  if ((given.get("generation") ?? GENERATION) !== GENERATION) for (const name of ["row", "at"]) given.delete(name); // another row's here
  for (const [name, value] of Object.entries(DEFAULTS)) state[name] = given.get(name) ?? value;
}

// Write the state into the address; with `asNewEntry` the browser's back button returns to the one before.
export function writeAddress(asNewEntry = false) {
  const kept = Object.entries(state).filter(([name, value]) => value !== null && value !== DEFAULTS[name]);
  if (state.row !== null) kept.push(["generation", GENERATION]);
  const query = new URLSearchParams(kept).toString();
  const address = query ? `?${query}` : location.pathname;
  if (asNewEntry) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

// The values of a search's address, for the first or the second sentence.
export function searchValues(pane) {
  const values = new URLSearchParams(FORM_FIELDS.map((name) => [name, state[name]]));
  values.set("q", pane === 0 ? state.q : state.q2 ?? "");
  if (state.free_text !== null) values.set("free_text", state.free_text);
  return values;
}

export const usedFilters = () => FILTERS.filter((name) => state[name] !== "");

export function clearFilters() {
  for (const name of FILTERS) state[name] = DEFAULTS[name];
}

readAddress();
