// The hits that are selected, and what is saved: these, or all hits that are shown.

import { find, findAll } from "./dom.js";
import { formatCount } from "./format.js";
import { panes } from "./hits.js";
import { opened } from "./nodule.js";
import { addressOf } from "./server.js";
import { searchValues } from "./state.js";

const SAVED = { "#save-csv": "/topk.csv", "#save-page": "/hits.html", "#save-markups": "/hits.mrk.json" };
const selected = new Set(); // rows

export const isSelected = (row) => selected.has(Number(row));

export function toggleSelected(row) {
  if (!selected.delete(Number(row))) selected.add(Number(row));
  showSelection();
}

// Show a card as selected or not.
export function markSelected(item) {
  const isMarked = isSelected(item.dataset.row);
  item.classList.toggle("selected", isMarked);
  find("input", item).checked = isMarked;
}

export function showSelection() {
  for (const item of findAll("li[data-row]")) markSelected(item);
  if (opened) find("#select-nodule").checked = isSelected(opened.row);
  const count = selected.size, shown = panes[0].hits.length;
  find("#save-label").hidden = count === 0 && shown === 0;
  find("#save-label").textContent = count ? `Save the ${formatCount(count)} selected as` : `Save ${shown === 1 ? "the hit" : `these ${formatCount(shown)} hits`} as`;
  find("#clear-selection").hidden = count === 0;
  const values = searchValues(0);
  if (count) values.set("rows", [...selected].join(","));
  else values.set("k", Math.max(1, shown));
  for (const [link, path] of Object.entries(SAVED)) {
    find(link).href = addressOf(path, values);
    find(link).hidden = count === 0 && shown === 0;
  }
}

// Save by a request, so that an error is said in words on this page.
async function save(event) {
  event.preventDefault();
  const link = event.currentTarget, text = link.textContent;
  link.textContent = "Saving …";
  try {
    const response = await fetch(link.href);
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error ?? `the server answered ${response.status}`);
    const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition"))[1];
    const address = URL.createObjectURL(await response.blob());
    Object.assign(document.createElement("a"), { href: address, download: name }).click();
    URL.revokeObjectURL(address);
    find("#hits-message").hidden = true;
  } catch (error) {
    find("#hits-message").textContent = `${text} could not be saved: ${error.message}`;
    find("#hits-message").hidden = false;
  }
  link.textContent = text;
}

for (const link of Object.keys(SAVED)) find(link).addEventListener("click", save);
find("#clear-selection").addEventListener("click", () => { selected.clear(); showSelection(); find("#sort").focus(); });
find("#select-nodule").addEventListener("change", () => toggleSelected(opened.row));
