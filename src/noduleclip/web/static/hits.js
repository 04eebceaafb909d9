// The lists of hits of one or two sentences.

import { find, findAll, make, setMessage, UNIT } from "./dom.js";
import { capitalize, formatCount, formatSize } from "./format.js";
import { drawHistogram } from "./histogram.js";
import { drawMap } from "./map.js";
import { openNodule } from "./nodule.js";
import { addressOf, fetchJson } from "./server.js";
import { searchValues, state } from "./state.js";

export const panes = [0, 1].map((number) => ({
  number, answer: null, isBusy: false, isOutdated: false,
  section: find(`.pane[data-pane="${number}"]`), reading: find(`#reading-${number}`),
}));

// Panes that are shown and have an answer.
export const answeredPanes = () => panes.filter(({ number, answer }) => answer && (number === 0 || state.q2 !== null));

async function search(pane) {
  if (pane.isBusy) { pane.isOutdated = true; return; } // one request at a time; the last state is asked for once
  pane.isBusy = true;
  try {
    pane.answer = await fetchJson("/api/search", searchValues(pane.number));
    pane.section.classList.remove("stale");
    showAnswer(pane);
  } catch (error) {
    pane.section.classList.add("stale");
    setMessage(pane.reading, error.message, true);
  }
  pane.isBusy = false;
  if (pane.isOutdated) { pane.isOutdated = false; search(pane); }
}

export function searchAll() {
  search(panes[0]);
  if (state.q2 !== null) search(panes[1]);
  find("#save-csv").href = addressOf("/topk.csv", searchValues(0));
  find("#save-page").href = addressOf("/hits.html", searchValues(0));
}

function showAnswer(pane) {
  const { answer } = pane;
  const estimated = answer.inside_estimated ? `, ${formatCount(answer.inside_estimated)} others by the model's estimate` : "";
  const inside = answer.inside === null ? "" : ` ${formatCount(answer.inside)} of ${formatCount(answer.ranked)} ${UNIT} have such a diameter${estimated}.`;
  setMessage(pane.reading, [`${capitalize(answer.reading)}.${inside}`, ...answer.notes].join(" "));
  const title = `${formatCount(answer.hits.length)} hits among ${formatCount(answer.ranked)} ${UNIT}`;
  const legend = answer.hits.some((hit) => hit.size?.startsWith("~")) ? ", ~ is the model's estimate" : "";
  find("h2", pane.section).replaceChildren(`${title} `, make("span", { class: "quiet" }, `${answer.milliseconds} ms${legend}`));
  fillList(find("ol", pane.section), answer.hits);
  drawHistogram();
  drawMap();
}

// Show hits in a list; cards that are there already keep their pictures and the focus.
export function fillList(list, hits) {
  const old = new Map(findAll("li", list).map((item) => [item.dataset.row, item]));
  const focused = list.contains(document.activeElement) ? document.activeElement.closest("li").dataset.row : null;
  list.replaceChildren(...hits.map((hit) => describeHit(old.get(String(hit.row)) ?? makeCard(hit.row), hit)));
  if (focused !== null) find(`li[data-row="${focused}"] button`, list)?.focus();
}

function makeCard(row) {
  const picture = make("img", { alt: "", src: addressOf(`/picture/${row}.png`), loading: "lazy", width: 160, height: 160 });
  picture.addEventListener("error", () => { picture.alt = "slice not readable"; }, { once: true });
  const button = make("button", { type: "button" }, picture, make("span"));
  button.addEventListener("click", () => openNodule(row, button));
  const item = make("li", {}, button);
  item.dataset.row = row;
  return item;
}

function describeHit(item, hit) {
  const lines = [make("span", { class: "size" }, formatSize(hit))];
  if (hit.satisfies === true) lines.push(make("span", { class: "yes" }, " ✓ fits"));
  if (hit.satisfies === false) lines.push(make("span", { class: "no" }, " ✗ misses"));
  const value = hit.score ?? hit.similarity;
  lines.push(make("br"), `${hit.score === undefined ? "cosine" : "score"} ${value.toFixed(3)}`, make("br"));
  const parts = [hit.cosine, hit.rule].map((part) => (part === null || part === undefined ? "–" : part.toFixed(2)));
  if (hit.score !== undefined) lines.push(make("span", { class: "quiet" }, `image ${parts[0]}, measured ${parts[1]}`), make("br"));
  if (hit.counts) lines.push(make("span", { class: "quiet" }, hit.counts), make("br"));
  lines.push(make("span", { class: "quiet" }, hit.patient_id ?? ""));
  find("button", item).replaceChildren(find("img", item), make("span", {}, ...lines));
  markCurrent(item);
  return item;
}

// Mark the card of the open nodule.
export function markCurrent(item) {
  const button = find("button", item);
  if (item.dataset.row === state.row) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
}
