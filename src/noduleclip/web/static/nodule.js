// The open nodule: what readers and model say of it, its metadata, its neighbours and its slices.

import { find, findAll, make, setMessage } from "./dom.js";
import { formatSize, formatValue } from "./format.js";
import { fillList, markCurrent } from "./hits.js";
import { fetchJson } from "./server.js";
import { goToSlice, showStack } from "./slice_stack.js";
import { drawSlice, fetchSlice } from "./slice_view.js";
import { state, writeAddress } from "./state.js";

// { row, nodule, stack, at, slice, slices, openedFrom }: `at` is the place in the stack, `slices` those fetched by place.
export let opened = null;

export async function openNodule(row, openedFrom = null, isNewEntry = true) {
  const mine = { row, nodule: null, stack: null, at: null, slice: null, slices: new Map(), openedFrom: openedFrom ?? opened?.openedFrom ?? null };
  opened = mine;
  state.row = String(row);
  if (isNewEntry) { state.at = null; writeAddress(true); }
  for (const item of findAll("li[data-row]")) markCurrent(item);
  find("#nodule").hidden = false;
  find("#results").classList.add("open");
  find("#nodule-title").textContent = `Row ${row}`;
  find("#slice").hidden = find("#slice-steps").hidden = true;
  setMessage(find("#slice-message"), "");
  if (isNewEntry) {
    find("#nodule-title").focus({ preventScroll: true });
    find("#nodule").scrollIntoView({ block: "nearest" });
    find("#nodule").scrollTop = 0;
  }
  try {
    const nodule = await fetchJson(`/api/nodule/${row}`, { unique: state.unique });
    if (opened !== mine) return;
    mine.nodule = nodule;
    showNodule(nodule);
    fetchJson(`/api/stack/${row}`).then((stack) => { if (opened === mine) showStack(mine, stack); }, () => {});
    const slice = await fetchSlice(row);
    if (opened !== mine) return;
    mine.slice ??= slice;
    find("#slice").hidden = false;
    drawSlice();
    if (isNewEntry) find("#nodule").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (opened === mine) setMessage(find("#slice-message"), error.message, true);
  }
}

// Show the nodule of the address, or none.
export function showNoduleOfAddress() {
  const row = state.row === null ? null : Number(state.row);
  if (row === null) closeNodule(false);
  else if (opened?.row === row && opened.stack) goToSlice(state.at === null ? opened.stack.at : Number(state.at));
  else openNodule(row, null, false);
}

export function closeNodule(isNewEntry = true) {
  if (!opened) return;
  const { openedFrom } = opened;
  opened = null;
  state.row = state.at = null;
  if (isNewEntry) writeAddress(true);
  find("#nodule").hidden = true;
  find("#results").classList.remove("open");
  for (const button of findAll('[aria-current="true"]')) button.removeAttribute("aria-current");
  if (isNewEntry) (openedFrom?.isConnected ? openedFrom : find("#q")).focus();
}

function showNodule(nodule) {
  const { metadata, estimates, comparison } = nodule;
  find("#nodule-title").textContent = `${formatSize(nodule)}, ${metadata.patient_id ?? ""}, row ${nodule.row}`;
  setMessage(find("#counts"), [nodule.counts, nodule.reader_sizes].filter(Boolean).join(": "));
  setMessage(find("#model"), nodule.model && `model: ${nodule.model}`);
  setMessage(find("#description"), metadata.description ? `in words: ${metadata.description}` : "");
  find("#comparison").hidden = comparison.length === 0;
  find("#comparison tbody").replaceChildren(...comparison.map((one) => make("tr", {},
    make("th", { scope: "row" }, one.name),
    ...[one.measured, one.readers.map((value) => value || "–").join(", "), one.model].map((text) => make("td", {}, text || "–")))));
  fillTerms(find("#metadata"), Object.entries(metadata).filter(([name]) => name !== "row" && name !== "description"));
  find("#estimates").hidden = Object.keys(estimates).length === 0;
  fillTerms(find("#estimates dl"), Object.entries(estimates));
  fillList(find("#neighbours"), nodule.neighbours);
}

function fillTerms(element, pairs) {
  element.replaceChildren(...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, formatValue(value))]));
}

find("#close").addEventListener("click", () => closeNodule());
