// The open nodule: what readers and model say of it, its metadata, its neighbours and its slices.

import { fillList, markCurrent } from "./cards.js";
import { find, findAll, make, setMessage } from "./dom.js";
import { formatCriterion, formatSize, formatValue, makeTick } from "./format.js";
import { answeredPanes, inOrder, loadMore } from "./hits.js";
import { showSelection } from "./selection.js";
import { fetchJson } from "./server.js";
import { goToSlice, showStack } from "./slice_stack.js";
import { drawSlice, fetchSlice, resetSection } from "./slice_view.js";
import { state, writeAddress } from "./state.js";

// { row, nodule, stack, at, slice, slices, openedFrom }: `at` is the place in the stack, `slices` those fetched by place.
export let opened = null;

export async function openNodule(row, openedFrom = null, isNewEntry = true, focused = "#nodule-title") {
  const mine = { row, nodule: null, stack: null, at: null, slice: null, slices: new Map(), openedFrom: openedFrom ?? opened?.openedFrom ?? null };
  opened = mine;
  state.row = String(row);
  if (isNewEntry) { state.at = null; writeAddress(true); }
  for (const item of findAll("li[data-row]")) markCurrent(item);
  find("#nodule").hidden = false;
  find("#results").classList.add("open");
  find("#nodule-title").textContent = `Row ${row}`;
  showHitPosition();
  showSelection();
  const hadSlice = !find("#slice").hidden;
  find("#slice-steps").hidden = true;
  setMessage(find("#slice-message"), hadSlice ? "" : "Loading the slice …");
  if (isNewEntry) {
    if (focused) find(focused).focus({ preventScroll: true });
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
    setMessage(find("#slice-message"), "");
    find("#slice").hidden = false;
    resetSection();
    drawSlice();
    if (isNewEntry) find("#nodule").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (opened !== mine) return;
    find("#slice").hidden = true;
    setMessage(find("#slice-message"), mine.nodule ? `The slice cannot be shown: ${error.message}` : error.message, true);
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
  const { openedFrom, row } = opened;
  opened = null;
  state.row = state.at = null;
  if (isNewEntry) writeAddress(true);
  find("#nodule").hidden = find("#slice").hidden = true;
  find("#results").classList.remove("open");
  for (const button of findAll('[aria-current="true"]')) button.removeAttribute("aria-current");
  if (!isNewEntry) return;
  const card = find(`.pane li[data-row="${row}"] button`);
  (card ?? (openedFrom?.isConnected ? openedFrom : find("#q"))).focus();
}

function showNodule(nodule) {
  const { metadata, estimates, comparison } = nodule;
  find("#nodule-title").textContent = `${formatSize(nodule)}, ${metadata.patient_id ?? ""}, row ${nodule.row}`;
  showFacts();
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

// What was asked for, what was measured, and beside it what the model says.
function showFacts() {
  const { nodule, row } = opened, facts = [];
  if (!nodule) return;
  const hit = answeredPanes().flatMap(({ hits }) => hits).find((one) => one.row === row);
  if (hit?.criteria.length) {
    facts.push(["asked for", hit.criteria.flatMap((one, i) => [i ? "; " : "", `${one.label}: ${formatCriterion(one)} `, makeTick(one)])]);
  }
  const measured = nodule.metadata.diameter_mm;
  const by = nodule.counts ? ` by ${nodule.counts}${nodule.reader_sizes ? `: ${nodule.reader_sizes}` : ""}` : "";
  facts.push(["measured", [measured === undefined ? `no diameter${by && `, outlined${by}`}` : `${measured.toFixed(1)} mm${by}`]]);
  if (nodule.model) facts.push(["model", [nodule.model]]);
  find("#facts").replaceChildren(...facts.flatMap(([name, parts]) => [make("dt", {}, name), make("dd", {}, ...parts)]));
}

function fillTerms(element, pairs) {
  element.replaceChildren(...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, formatValue(value))]));
}

// Previous and next hit, in the order of the list

function findPlace() {
  for (const pane of answeredPanes()) {
    const hits = inOrder(pane.hits), at = hits.findIndex((hit) => hit.row === opened.row);
    if (at >= 0) return { pane, hits, at };
  }
  return null;
}

export function showHitPosition() {
  if (!opened) return;
  const place = findPlace();
  find("#hit-steps").hidden = false;
  find("#hit-position").textContent = place ? `hit ${place.at + 1} of ${place.hits.length}` : "not among the hits";
  find("#previous-hit").disabled = !place || place.at === 0;
  find("#next-hit").disabled = !place || (place.at === place.hits.length - 1 && place.pane.more.hidden);
  showFacts();
}

export async function goToHit(step, focused) {
  let place = opened && findPlace();
  if (place && !place.hits[place.at + step] && step > 0) {
    await loadMore(place.pane);
    place = opened && findPlace();
  }
  const next = place?.hits[place.at + step];
  if (next) openNodule(next.row, null, true, focused);
}

find("#close").addEventListener("click", () => closeNodule());
find("#previous-hit").addEventListener("click", () => goToHit(-1, null));
find("#next-hit").addEventListener("click", () => goToHit(1, null));
