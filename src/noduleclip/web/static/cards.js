// Cards of hits and neighbours: pictures, what was asked for with ticks, scores; moved through by arrow keys.

import { find, findAll, make } from "./dom.js";
import { formatCriterion, formatSize, makeTick } from "./format.js";
import { openNodule } from "./nodule.js";
import { isSelected, markSelected, toggleSelected } from "./selection.js";
import { addressOf, fetchAnswer } from "./server.js";
import { state } from "./state.js";

const NO_BREAK = "\u00a0";

// Show hits in a list; cards that are there already keep their pictures and the focus.
export function fillList(list, hits) {
  const old = new Map(findAll("li", list).map((item) => [item.dataset.row, item]));
  const focused = list.contains(document.activeElement) ? document.activeElement.closest("li").dataset.row : null;
  list.replaceChildren(...hits.map((hit) => describeHit(old.get(String(hit.row)) ?? makeCard(hit.row), hit)));
  if (focused !== null) find(`li[data-row="${focused}"] button`, list)?.focus();
  const [first, ...others] = findAll("li button", list);
  if (first) setTabStop(list.contains(document.activeElement) ? document.activeElement : first, [first, ...others]);
}

function makeCard(row) {
  const picture = make("img", { alt: "", src: addressOf(`/picture/${row}.png`), loading: "lazy", width: 160, height: 160 });
  picture.addEventListener("error", () => showNoPicture(picture, row), { once: true });
  const button = make("button", { type: "button", "aria-keyshortcuts": "x Space" }, picture, make("span"));
  button.addEventListener("click", () => openNodule(row, button));
  const box = make("input", { type: "checkbox", tabindex: "-1", "aria-label": `Select row ${row}` });
  box.addEventListener("change", () => toggleSelected(row));
  const item = make("li", {}, button, make("label", { class: "select" }, box));
  item.dataset.row = row;
  return item;
}

// Say on the card that there is no picture, and once above the hits why.
async function showNoPicture(picture, row) {
  picture.alt = "no picture";
  const message = find("#hits-message");
  if (!message.hidden) return;
  const reason = await fetchAnswer(`/picture/${row}.png`).then(() => "", (error) => error.message);
  if (!reason || !message.hidden) return;
  message.textContent = `Some pictures cannot be shown: ${reason}`;
  message.hidden = false;
}

function describeHit(item, hit) {
  const button = find("button", item), criteria = hit.criteria ?? [];
  const size = criteria.find(({ name }) => name === "diameter_mm"), ratings = criteria.filter((one) => one !== size);
  const lines = [[make("span", { class: "size" }, formatSize(hit)), ...(size && hit.size !== null ? [NO_BREAK, makeTick(size)] : [])]];
  if (hit.rank !== undefined) lines[0].unshift(make("span", { class: "quiet" }, `${hit.rank}. `));
  for (const rating of ratings) lines.push([formatCriterion(rating), NO_BREAK, makeTick(rating)]);
  const isCalibrated = isNumber(hit.probability); // else the score is one of words that have no probability
  for (const name of [isCalibrated ? "probability" : "similarity", "likeness"]) if (isNumber(hit[name])) lines.push([`${name} ${hit[name].toFixed(2)}`]);
  const scores = ["score", "rule"].filter((name) => isCalibrated && isNumber(hit[name])).map((name) => `${name}${NO_BREAK}${hit[name].toFixed(2)}`);
  if (scores.length) lines.push([make("span", { class: "quiet" }, scores.join(", "))]);
  for (const text of [hit.counts, hit.patient_id]) if (text) lines.push([make("span", { class: "quiet" }, text)]);
  const shown = make("span", {}, ...lines.map((parts) => make("span", { class: "line" }, ...parts)));
  if (isSelected(hit.row)) shown.append(make("span", { class: "unseen" }, "selected"));
  button.replaceChildren(find("img", button), shown);
  markCurrent(item);
  markSelected(item);
  return item;
}

const isNumber = (value) => value !== null && value !== undefined;

// Mark the card of the open nodule.
export function markCurrent(item) {
  const button = find("button", item);
  if (item.dataset.row === state.row) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
}

// Keys: one card of a list is a stop of the Tab key, and arrows move to the others.

function setTabStop(button, buttons) {
  for (const one of buttons) one.tabIndex = one === button ? 0 : -1;
}

function findTarget(key, buttons, at) {
  const topOf = (one) => Math.round(one.getBoundingClientRect().top);
  const columns = buttons.findIndex((one) => topOf(one) > topOf(buttons[0]));
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  if (key === "Home") return buttons[0];
  if (key === "End") return buttons.at(-1);
  if (step === undefined || (columns < 0 && key !== "ArrowLeft" && key !== "ArrowRight")) return null;
  return buttons[at + step] ?? null;
}

for (const list of findAll("ol")) {
  list.addEventListener("keydown", (event) => {
    const button = event.target.closest("li button");
    if (!button || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (event.key === "x" || event.key === " ") {
      event.preventDefault(); // the space key would open the nodule
      toggleSelected(button.closest("li").dataset.row);
      return;
    }
    const buttons = findAll("li button", list), target = findTarget(event.key, buttons, buttons.indexOf(button));
    if (!target) return;
    event.preventDefault();
    target.focus();
  });
  list.addEventListener("keyup", (event) => { if (event.key === " " && event.target.matches("li button")) event.preventDefault(); });
  list.addEventListener("focusin", (event) => {
    const button = event.target.closest("li button");
    if (button) setTabStop(button, findAll("li button", list));
  });
}
