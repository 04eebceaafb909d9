// The lists of hits of one or two sentences: asked for as one types, a page at a time, in any order.

import { fillList } from "./cards.js";
import { find, make, makeButton, MOST_HITS, setChildren, setMessage, UNIT } from "./dom.js";
import { capitalize, formatCount } from "./format.js";
import { drawHistogram } from "./histogram.js";
import { drawCharts } from "./charts.js";
import { showHitPosition } from "./nodule.js";
import { showSelection } from "./selection.js";
import { fetchJson } from "./server.js";
import { clearFilters, searchValues, state, usedFilters, writeAddress } from "./state.js";

const PAUSE_MS = 500; // after which a sentence counts as typed, and may be refused
const SLOW_MS = 300; // after which the page says that it searches
const NEAR_END = "400px"; // how far from the end of the list the next hits are asked for

export const panes = [0, 1].map((number) => {
  const section = find(`.pane[data-pane="${number}"]`);
  return {
    number, section, refusal: 0, answer: null, hits: [], isBusy: false, isOutdated: false, isLoadingMore: false,
    title: find("h2", section), list: find("ol", section), more: find(".more", section), empty: find(".empty", section),
    reading: find(`#reading-${number}`), remedies: find(`#remedies-${number}`),
  };
});

// Panes that are shown and have an answer.
export const answeredPanes = () => panes.filter(({ number, answer }) => answer && (number === 0 || state.q2 !== null));

let onChange = () => {}; // shows a changed state
export const setOnChange = (show) => { onChange = show; };

function changeState(values, isNewEntry = true) {
  Object.assign(state, values);
  writeAddress(isNewEntry);
  onChange();
}

async function search(pane) {
  if (pane.isBusy) { pane.isOutdated = true; return; } // one request at a time; the last state is asked for once
  pane.isBusy = true;
  clearTimeout(pane.refusal);
  const slow = setTimeout(() => { pane.title.textContent = "Searching …"; pane.section.setAttribute("aria-busy", "true"); }, SLOW_MS);
  try {
    pane.answer = await fetchJson("/api/search", searchValues(pane.number));
    pane.hits = pane.answer.hits;
    pane.section.classList.remove("stale");
    showAnswer(pane);
  } catch (error) {
    pane.section.classList.add("stale");
    showError(pane, error);
    drawHistogram();
  }
  clearTimeout(slow);
  pane.section.removeAttribute("aria-busy");
  showTitle(pane);
  pane.isBusy = false;
  if (pane.isOutdated) { pane.isOutdated = false; search(pane); } else watchEnd(pane);
}

export function searchAll() {
  search(panes[0]);
  if (state.q2 !== null) search(panes[1]);
}

// Ask for the hits behind those that are shown.
export async function loadMore(pane) {
  if (pane.isBusy || pane.isLoadingMore || !hasMore(pane)) return;
  pane.isLoadingMore = true;
  const { answer } = pane, values = searchValues(pane.number);
  values.set("start", pane.hits.length);
  values.set("k", Math.min(Number(state.k), MOST_HITS - pane.hits.length));
  try {
    const { hits } = await fetchJson("/api/search", values);
    if (pane.answer === answer) { // no other search has begun
      const known = new Set(pane.hits.map(({ row }) => row));
      pane.hits = [...pane.hits, ...hits.filter(({ row }) => !known.has(row))];
      showHits(pane);
    }
  } catch (error) {
    setMessage(find("#hits-message"), error.message);
  }
  pane.isLoadingMore = false;
  watchEnd(pane);
}

// Look anew whether the end of the list is near: an observer calls back only when that changes.
function watchEnd({ more }) {
  nearEnd.unobserve(more);
  nearEnd.observe(more);
}

const hasMore = ({ answer, hits }) => answer !== null && hits.length > 0 && hits.length < Math.min(answer.found, MOST_HITS);

function showAnswer(pane) {
  const { answer, number } = pane;
  const estimated = answer.inside_estimated ? `, ${formatCount(answer.inside_estimated)} others by the model's estimate` : "";
  const inside = answer.inside === null || answer.ranked === 0 ? "" : ` ${formatCount(answer.inside)} of ${formatCount(answer.ranked)} ${UNIT} have such a diameter${estimated}.`;
  const notes = answer.hits.length ? answer.notes : []; // without hits there is a reason in their place
  setMessage(pane.reading, [`${capitalize(answer.reading)}.${inside}`, ...notes].join(" "));
  setChildren(pane.remedies, makeCorrections(pane, answer.suggestions));
  if (number === 0) find("#hits-message").hidden = true;
  setChildren(pane.empty, answer.hits.length ? [] : explainNoHits(answer));
  showHits(pane);
  drawHistogram();
}

function showHits(pane) {
  fillList(pane.list, inOrder(pane.hits));
  const left = Math.min(Number(state.k), pane.answer.found - pane.hits.length, MOST_HITS - pane.hits.length);
  pane.more.hidden = !hasMore(pane);
  pane.more.textContent = `Show ${formatCount(left)} more`;
  showTitle(pane);
  showSelection();
  showHitPosition();
  drawCharts();
}

function showTitle({ answer, hits, title, section }) {
  if (!answer?.hits.length) { title.textContent = answer ? "No hits" : "No hits yet"; return; }
  const { found, ranked, milliseconds } = answer;
  const passing = Number(state.min_probability) ? ` of ${formatCount(found)} with that probability` : "";
  const legend = hits.some((hit) => hit.size?.startsWith("~") || hit.criteria.some((one) => one.is_estimated)) ? ", ~ is the model's estimate" : "";
  title.replaceChildren(`${formatCount(hits.length)} hit${hits.length === 1 ? "" : "s"}${passing} among ${formatCount(ranked)} ${UNIT} `,
    make("span", { class: "quiet" }, section.classList.contains("stale") ? "of the sentence before" : `${milliseconds} ms${legend}`));
}

// The order of the hits that are shown; which ones these are is up to their scores.
export function inOrder(hits) {
  const sizeOf = ({ diameter_mm, estimated_diameter_mm }) => diameter_mm ?? estimated_diameter_mm ?? null;
  const bySize = (sign) => (one, other) => {
    const [first, second] = [sizeOf(one), sizeOf(other)];
    if (first === null || second === null) return (first === null) - (second === null) || one.rank - other.rank;
    return sign * (first - second) || one.rank - other.rank;
  };
  const orders = {
    score: (one, other) => one.rank - other.rank, largest: bySize(-1), smallest: bySize(1),
    patient: (one, other) => (one.patient_id ?? "").localeCompare(other.patient_id ?? "", "en", { numeric: true }) || one.rank - other.rank,
  };
  return [...hits].sort(orders[state.sort] ?? orders.score);
}

function explainNoHits(answer) {
  if (usedFilters().length && answer.ranked === 0) {
    const clear = makeButton("Clear the filters", () => { clearFilters(); changeState({}); });
    return [`None of the ${UNIT} passes the filters. `, clear];
  }
  if (Number(state.min_probability)) {
    const remove = makeButton("Remove the least probability", () => changeState({ min_probability: "0" }));
    return [`No hit is that probable: ${answer.summary}. `, remove];
  }
  return [`The index has no ${UNIT} to show.`];
}

// Say in words why there is no answer, and what can be done; the last hits stay.
function showError(pane, error) {
  const { not_understood: words, suggestions, unreachable } = error.details ?? {};
  if (words) {
    pane.refusal = setTimeout(() => showRefusal(pane, words, suggestions), PAUSE_MS);
    return;
  }
  setMessage(pane.reading, error.message, true);
  setChildren(pane.remedies, unreachable ? [makeButton("Try again", () => search(pane))] : []);
}

// Name the words of a sentence of which nothing was understood, and offer what can be done.
function showRefusal(pane, words, suggestions) {
  setMessage(pane.reading, `Nothing of this sentence is understood as a size or a rating: ${words.map((word) => `“${word}”`).join(", ")}.`, true);
  setChildren(pane.remedies, [...makeCorrections(pane, suggestions), makeButton("Search anyway, by the words alone", () => changeState({ free_text: "1" }))]);
}

// A button for each word that is near to a known one.
function makeCorrections({ number }, suggestions) {
  const field = number === 0 ? "q" : "q2";
  return Object.entries(suggestions).map(([word, known]) =>
    makeButton(`Did you mean “${known}”?`, () => changeState({ [field]: replaceWord(state[field], word, known) })));
}

function replaceWord(sentence, word, known) {
  const at = sentence.toLowerCase().indexOf(word.toLowerCase());
  return at < 0 ? sentence : sentence.slice(0, at) + known + sentence.slice(at + word.length);
}

// Further hits come as one scrolls; in another order than the best first they would come between others.
const nearEnd = new IntersectionObserver((entries) => {
  if (state.sort !== "score") return;
  for (const { target } of entries.filter((entry) => entry.isIntersecting)) loadMore(panes.find(({ more }) => more === target));
}, { rootMargin: `0px 0px ${NEAR_END} 0px` });

for (const pane of panes) {
  pane.more.addEventListener("click", async () => {
    const shown = pane.hits.length;
    await loadMore(pane);
    if (pane.hits.length > shown) find(`li[data-row="${pane.hits[shown].row}"] button`, pane.list).focus();
  });
}
find("#sort").addEventListener("change", (event) => {
  state.sort = event.target.value;
  writeAddress(true);
  for (const pane of answeredPanes()) { showHits(pane); watchEnd(pane); }
});
