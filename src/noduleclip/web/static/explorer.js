// The explorer's page. Texts of the index are set as text and never as markup; the address holds the whole state.

const DEFAULTS = {
  q: "a lung nodule with diameter > 6 mm", q2: null, alpha: "0.5", softness: "1.5", min: "", max: "", patients: "",
  where: "", unique: "nodule", k: "24", row: null, at: null, map: null,
};
const ASKED = ["alpha", "softness", "min", "max", "patients", "where", "unique", "k"];
const TYPING_MS = 60;
const LARGEST_MM = 25;
const COLOURS = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];

const GENERATION = document.querySelector('meta[name="generation"]').content; // of the index that this page was made of

const UNIT = document.querySelector('meta[name="unit"]').content; // what a row of the index is

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function make(tag, attributes = {}, ...children) {
  const svg = ["rect", "text", "title"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const size_of = ({ size }) => (size === null ? "no diameter" : `${size} mm`); // "~8.2" is the model's estimate
const plain = (value) => (typeof value === "number" ? String(Number(value.toPrecision(5))) : String(value));
const count = (number) => number.toLocaleString("en");

// State and address

let state = read_address();

function read_address() {
  const given = new URLSearchParams(location.search);
  if ((given.get("generation") ?? GENERATION) !== GENERATION) for (const name of ["row", "at"]) given.delete(name); // another row's here
  return Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
}

function write_address(step = false) {
  const kept = Object.entries(state).filter(([name, value]) => value !== null && value !== DEFAULTS[name]);
  if (state.row !== null) kept.push(["generation", GENERATION]);
  const query = new URLSearchParams(kept).toString();
  const address = query ? `?${query}` : location.pathname;
  if (step) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

function question(pane) {
  const values = new URLSearchParams(ASKED.map((name) => [name, state[name]]));
  values.set("q", pane === 0 ? state.q : state.q2 ?? "");
  return values;
}

// Every address names the generation of the index that the page is about: the server refuses to answer from another.
function address_of(path, values = {}) {
  const query = new URLSearchParams(values);
  query.set("generation", GENERATION);
  return `${path}?${query}`;
}

async function fetch_answer(path, values) {
  const response = await fetch(address_of(path, values));
  if (response.status === 409 || response.headers.get("X-Index-Replaced") === "true") find("#replaced").hidden = false;
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error ?? `the server answered ${response.status}`);
  return response;
}

const fetch_json = async (path, values) => (await fetch_answer(path, values)).json();

find("#reopen").addEventListener("click", async () => {
  const response = await fetch("/api/reopen", { headers: { "X-Noduleclip-Reopen": "1" } }).catch(() => null);
  const found = await response?.json().catch(() => null);
  if (!response?.ok) {
    find("#replaced-said").textContent = found?.error ?? "The server does not answer.";
    return;
  }
  state.row = null;
  write_address();
  location.reload();
});

// Hits

const panes = [0, 1].map((number) => ({
  number, answer: null, busy: false, again: false,
  section: find(`.pane[data-pane="${number}"]`), reading: find(`#reading-${number}`),
}));
let collection = { bins: [], measured: 0, estimated: 0 };

async function ask(pane) {
  if (pane.busy) { pane.again = true; return; } // one at a time: what was asked meanwhile is asked once, as it is then
  pane.busy = true;
  try {
    pane.answer = await fetch_json("/api/search", question(pane.number));
    pane.section.classList.remove("stale");
    show_answer(pane);
  } catch (error) {
    pane.section.classList.add("stale");
    say(pane.reading, error.message, true);
  }
  pane.busy = false;
  if (pane.again) { pane.again = false; ask(pane); }
}

function ask_all() {
  ask(panes[0]);
  if (state.q2 !== null) ask(panes[1]);
  find("#csv").href = address_of("/topk.csv", question(0));
  find("#gallery").href = address_of("/hits.html", question(0));
}

function say(element, text, fault = false) {
  element.textContent = text;
  element.classList.toggle("fault", fault);
  element.hidden = text === "";
}

function show_answer(pane) {
  const { answer } = pane;
  const guessed = answer.inside_estimated ? `, ${count(answer.inside_estimated)} others by the model's estimate` : "";
  const within = answer.inside === null ? "" : ` ${count(answer.inside)} of ${count(answer.ranked)} ${UNIT} have such a diameter${guessed}.`;
  const reading = answer.reading.charAt(0).toUpperCase() + answer.reading.slice(1);
  say(pane.reading, [`${reading}.${within}`, ...answer.notes].join(" "));
  const title = `${count(answer.hits.length)} hits among ${count(answer.ranked)} ${UNIT}`;
  const marked = answer.hits.some((hit) => hit.size?.startsWith("~")) ? ", ~ is the model's estimate" : "";
  find("h2", pane.section).replaceChildren(`${title} `, make("span", { class: "quiet" }, `${answer.milliseconds} ms${marked}`));
  fill(find("ol", pane.section), answer.hits);
  draw_histogram();
  draw_map();
}

function fill(list, hits) {
  const old = new Map(all("li", list).map((item) => [item.dataset.row, item]));
  const focused = list.contains(document.activeElement) ? document.activeElement.closest("li").dataset.row : null;
  list.replaceChildren(...hits.map((hit) => describe_hit(old.get(String(hit.row)) ?? make_card(hit.row), hit)));
  if (focused !== null) find(`li[data-row="${focused}"] button`, list)?.focus();
}

function make_card(row) {
  const picture = make("img", { alt: "", src: address_of(`/picture/${row}.png`), loading: "lazy", width: 160, height: 160 });
  picture.addEventListener("error", () => { picture.alt = "slice not readable"; }, { once: true });
  const button = make("button", { type: "button" }, picture, make("span"));
  button.addEventListener("click", () => open_nodule(row, button));
  const item = make("li", {}, button);
  item.dataset.row = row;
  return item;
}

function describe_hit(item, hit) {
  const lines = [make("span", { class: "size" }, size_of(hit))];
  if (hit.satisfies === true) lines.push(make("span", { class: "yes" }, " ✓ fits"));
  if (hit.satisfies === false) lines.push(make("span", { class: "no" }, " ✗ misses"));
  const value = hit.score ?? hit.similarity;
  lines.push(make("br"), `${hit.score === undefined ? "cosine" : "score"} ${value.toFixed(3)}`, make("br"));
  const parts = [hit.cosine, hit.rule].map((part) => (part === null || part === undefined ? "–" : part.toFixed(2)));
  if (hit.score !== undefined) lines.push(make("span", { class: "quiet" }, `image ${parts[0]}, measured ${parts[1]}`), make("br"));
  if (hit.counts) lines.push(make("span", { class: "quiet" }, hit.counts), make("br"));
  lines.push(make("span", { class: "quiet" }, hit.patient_id ?? ""));
  find("button", item).replaceChildren(find("img", item), make("span", {}, ...lines));
  mark_current(find("button", item), hit.row);
  return item;
}

function mark_current(button, row) {
  if (String(row) === state.row) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
}

// Histogram

function draw_histogram() {
  const svg = find("#histogram svg"), { bins, measured, estimated } = collection;
  if (!bins.length) return;
  const wide = svg.clientWidth, step = (wide - 24) / bins.length, highest = Math.max(1, ...bins), place = (mm) => 12 + step * Math.min(Math.max(mm, 0), bins.length);
  const parts = bins.map((rows, mm) => {
    const height = rows ? Math.max(1, (90 * rows) / highest) : 0;
    const label = mm === bins.length - 1 ? `${mm} mm or more` : `${mm} to ${mm + 1} mm`;
    return make("rect", { class: "bar", x: place(mm) + 1, y: 96 - height, width: step - 2, height },
      make("title", {}, `${label}: ${count(rows)} ${UNIT}`));
  });
  for (let mm = 0; mm < bins.length; mm += 5) parts.push(make("text", { x: place(mm), y: 113 }, mm === 40 ? "40+" : String(mm)));
  const said = [];
  for (const { number, answer } of panes) {
    const range = answer?.interval;
    if (!range || (number === 1 && state.q2 === null)) continue;
    const left = place(range.low_mm), right = place(range.high_mm ?? Infinity);
    parts.push(make("rect", { class: "range", "data-pane": number, x: left, y: 3, width: Math.max(2, right - left), height: 93 }));
    said.push(`${number ? "second sentence" : "sentence"} read as ${range.text}`);
  }
  svg.setAttribute("viewBox", `0 0 ${wide} 120`);
  svg.replaceChildren(...parts);
  const guessed = estimated ? `, ${count(estimated)} estimated` : "";
  const ranges = said.length ? said.join("; ") : "the sentence has no size";
  find("#histogram-said").textContent = `${UNIT[0].toUpperCase()}${UNIT.slice(1)} by diameter in mm, ${count(measured)} measured${guessed}; ${ranges}.`;
}

// Detail: what readers and model say, metadata, neighbours, slices

let opened = null; // { row, nodule, stack, at, slice, kept, from }
let whole = true, marked = true;

async function open_nodule(row, from = null, step = true) {
  const before = opened;
  opened = { row, nodule: null, stack: null, at: null, slice: null, kept: new Map(), from: from ?? before?.from ?? null };
  const mine = opened;
  state.row = String(row);
  if (step) { state.at = null; write_address(true); }
  for (const item of all("li[data-row]")) mark_current(find("button", item), item.dataset.row);
  find("#detail").hidden = false;
  find("#results").classList.add("open");
  find("#detail-title").textContent = `Row ${row}`;
  find("#slice").hidden = find("#steps").hidden = true;
  say(find("#slice-said"), "");
  if (step) {
    find("#detail-title").focus({ preventScroll: true });
    find("#detail").scrollIntoView({ block: "nearest" });
    find("#detail").scrollTop = 0;
  }
  try {
    const nodule = await fetch_json(`/api/nodule/${row}`, { unique: state.unique });
    if (opened !== mine) return;
    mine.nodule = nodule;
    show_nodule(nodule);
    fetch_json(`/api/stack/${row}`).then((stack) => { if (opened === mine) show_stack(mine, stack); }, () => {});
    const slice = await fetch_slice(row);
    if (opened !== mine) return;
    mine.slice ??= slice;
    find("#slice").hidden = false;
    draw_slice();
    if (step) find("#detail").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (opened === mine) say(find("#slice-said"), error.message, true);
  }
}

function show_nodule(nodule) {
  const { metadata, estimates, comparison } = nodule;
  find("#detail-title").textContent = `${size_of(nodule)}, ${metadata.patient_id ?? ""}, row ${nodule.row}`;
  say(find("#counts"), [nodule.counts, nodule.reader_sizes].filter(Boolean).join(": "));
  say(find("#model"), nodule.model && `model: ${nodule.model}`);
  say(find("#words"), metadata.description ? `in words: ${metadata.description}` : "");
  find("#comparison").hidden = comparison.length === 0;
  find("#comparison tbody").replaceChildren(...comparison.map((one) => make("tr", {},
    make("th", { scope: "row" }, one.name),
    ...[one.measured, one.readers.map((value) => value || "–").join(", "), one.model].map((text) => make("td", {}, text || "–")))));
  list(find("#metadata"), Object.entries(metadata).filter(([name]) => name !== "row" && name !== "description"));
  find("#estimates").hidden = Object.keys(estimates).length === 0;
  list(find("#estimates dl"), Object.entries(estimates));
  fill(find("#neighbours"), nodule.neighbours);
}

function list(element, pairs) {
  element.replaceChildren(...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, plain(value))]));
}

// Steps through the slices of the nodule's series, from the feet to the head

const STEP_PX = 40; // of a wheel that turns smoothly
const place = find("#place");

function show_stack(mine, stack) {
  mine.stack = stack;
  mine.at = stack.at;
  find("#steps").hidden = stack.slices.length < 2;
  place.max = stack.slices.length - 1;
  view.dataset.at = stack.at; // the slice that is drawn
  say_place();
  if (state.at !== null) go_to(Number(state.at));
}

function go_to(at) {
  if (!opened?.stack || Number.isNaN(at)) return;
  const last = opened.stack.slices.length - 1, to = Math.min(Math.max(at, 0), last);
  if (to === opened.at) return;
  opened.at = to;
  state.at = to === opened.stack.at ? null : String(to);
  write_address();
  say_place();
  load_slice(opened);
}

async function load_slice(mine) {
  if (mine.loading) return; // one at a time; the place where the steps ended is loaded last
  mine.loading = true;
  let at = null;
  while (opened === mine && at !== mine.at) {
    at = mine.at;
    const slice = await fetch_step(mine, at).catch((error) => error);
    if (opened !== mine) return;
    const failed = slice instanceof Error;
    say(find("#slice-said"), failed ? slice.message : "", failed);
    mine.slice = failed ? null : slice;
    draw_slice();
    view.dataset.at = at;
  }
  mine.loading = false;
  for (const next of [at + 1, at - 1]) if (mine.stack.slices[next]) fetch_step(mine, next).catch(() => {});
}

function fetch_step(mine, at) {
  if (!mine.kept.has(at)) {
    if (mine.kept.size > 60) mine.kept.clear();
    mine.kept.set(at, fetch_slice(mine.row, at));
  }
  return mine.kept.get(at);
}

function say_place() {
  const { stack, at } = opened, { z_mm, outlines } = stack.slices[at], own = at === stack.at;
  const drawn = outlines.length ? `, outlined by ${outlines.length}` : ", not outlined";
  place.value = at;
  find("#place-said").textContent = `${at + 1} of ${stack.slices.length}`
    + `${z_mm === null ? "" : `, z ${z_mm.toFixed(1)} mm`}${drawn}${own ? ", embedded" : ""}`;
  find("#up").disabled = at === stack.slices.length - 1;
  find("#down").disabled = at === 0;
  find("#own").disabled = own;
}

place.addEventListener("input", () => go_to(Number(place.value)));
find("#up").addEventListener("click", () => go_to(opened.at + 1));
find("#down").addEventListener("click", () => go_to(opened.at - 1));
find("#own").addEventListener("click", () => go_to(opened.stack.at));
find("#detail").addEventListener("keydown", (event) => {
  if (!event.target.matches("canvas, #detail-title") || event.ctrlKey || event.altKey || event.metaKey || !opened?.stack) return;
  const to = { ArrowUp: opened.at + 1, ArrowDown: opened.at - 1, Home: opened.stack.at }[event.key];
  if (to !== undefined) { event.preventDefault(); go_to(to); }
});
let turned = 0;
find("#slice canvas").addEventListener("wheel", (event) => {
  if (event.ctrlKey || !(opened?.stack?.slices.length > 1)) return;
  event.preventDefault();
  turned = Math.sign(turned) === Math.sign(event.deltaY) ? turned : 0;
  turned += event.deltaMode === 0 ? event.deltaY : STEP_PX * Math.sign(event.deltaY);
  const steps = Math.trunc(turned / STEP_PX);
  if (steps) { turned -= steps * STEP_PX; go_to(opened.at - Math.sign(steps)); }
}, { passive: false });

function close_nodule(step = true) {
  if (!opened) return;
  const { from } = opened;
  opened = null;
  state.row = state.at = null;
  if (step) write_address(true);
  find("#detail").hidden = true;
  find("#results").classList.remove("open");
  for (const button of all('[aria-current="true"]')) button.removeAttribute("aria-current");
  if (step) (from?.isConnected ? from : find("#q")).focus();
}

async function fetch_slice(row, at = null) {
  const response = await fetch_answer(`/api/slice/${row}`, at === null ? {} : { at });
  const [height, width] = response.headers.get("X-Shape").split(",").map(Number);
  const spacing = response.headers.get("X-Spacing-Mm");
  const [high_mm, wide_mm] = spacing ? spacing.split(",").map(Number) : [1, 1];
  const hu = new Int16Array(await response.arrayBuffer());
  const canvas = make("canvas", { width, height });
  return { hu, width, height, high_mm, wide_mm, canvas, pixels: new ImageData(width, height) };
}

const level = find("#level"), width = find("#width"), view = find("#slice canvas");

function window_slice({ hu, canvas, pixels }) {
  const low = Number(level.value) - Number(width.value) / 2, scale = 255 / Number(width.value);
  const shown = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < hu.length; i += 1) {
    const grey = Math.min(255, Math.max(0, (hu[i] - low) * scale)) | 0;
    shown[i] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function draw_slice() {
  find("#level-said").textContent = `${level.value} HU`;
  find("#width-said").textContent = `${width.value} HU`;
  if (!opened?.slice) { view.getContext("2d").clearRect(0, 0, view.width, view.height); return; }
  const { slice, nodule, stack, at } = opened, [left, top, right, bottom] = nodule.box;
  const shown = stack ? stack.slices[at] : nodule.slice;
  window_slice(slice);
  let x = 0, y = 0, wide = slice.width, high = slice.height;
  if (!whole) {
    const side_mm = Math.max(60, 2 * (right - left) * slice.wide_mm, 2 * (bottom - top) * slice.high_mm);
    wide = side_mm / slice.wide_mm; high = side_mm / slice.high_mm;
    x = (left + right + 1) / 2 - wide / 2; y = (top + bottom + 1) / 2 - high / 2;
  }
  view.width = 1024;
  view.height = Math.round((1024 * high * slice.high_mm) / (wide * slice.wide_mm));
  const pen = view.getContext("2d"), across = view.width / wide, down = view.height / high;
  pen.drawImage(slice.canvas, x, y, wide, high, 0, 0, view.width, view.height);
  if (!marked) return;
  pen.lineWidth = 2;
  pen.strokeStyle = "#ffb000";
  if (!stack || at === stack.at) pen.strokeRect((left - x) * across, (top - y) * down, (right - left + 1) * across, (bottom - top + 1) * down);
  pen.strokeStyle = "#40e0ff";
  const draw = (curves, width, opacity) => {
    pen.lineWidth = width;
    pen.globalAlpha = opacity;
    for (const curve of curves) {
      pen.beginPath();
      for (const [column, row] of curve) pen.lineTo((column + 0.5 - x) * across, (row + 0.5 - y) * down);
      pen.closePath();
      pen.stroke();
    }
  };
  if (shown.outlines.length > 1) draw(shown.outlines, 1.5, 0.6);
  draw(shown.mean, 3, 1);
}

function move_window(by_level, by_width) {
  level.value = Number(level.value) + by_level;
  width.value = Number(width.value) + by_width;
  draw_slice();
}

let held = null;
view.addEventListener("pointerdown", (event) => {
  held = [event.clientX, event.clientY];
  view.setPointerCapture(event.pointerId);
});
view.addEventListener("pointermove", (event) => {
  if (!held) return;
  const [by_width, by_level] = [10 * Math.round((event.clientX - held[0]) / 2), 10 * Math.round((event.clientY - held[1]) / 2)];
  if (by_width || by_level) { held = [event.clientX, event.clientY]; move_window(by_level, by_width); }
});
for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, () => { held = null; });
for (const slider of [level, width]) slider.addEventListener("input", draw_slice);
for (const button of all("[data-level]")) {
  button.addEventListener("click", () => { level.value = button.dataset.level; width.value = button.dataset.width; draw_slice(); });
}
find("#zoom").addEventListener("click", () => { whole = !whole; show_toggles(); draw_slice(); });
find("#marks").addEventListener("click", () => { marked = !marked; show_toggles(); draw_slice(); });
find("#close").addEventListener("click", () => close_nodule());

// Map

let points = null; // { rows, values, places }
const chart = find("#map canvas");

function colour(mm) {
  if (!Number.isFinite(mm)) return "#888";
  const at = (Math.min(mm, LARGEST_MM) / LARGEST_MM) * (COLOURS.length - 1), low = Math.min(Math.floor(at), COLOURS.length - 2);
  return `rgb(${COLOURS[low].map((part, i) => Math.round(part + (at - low) * (COLOURS[low + 1][i] - part))).join(",")})`;
}

async function show_map() {
  find("#map").hidden = state.map === null;
  find("#show-map").setAttribute("aria-pressed", String(state.map !== null));
  if (state.map === null) return;
  if (!points) {
    const answer = await fetch_answer("/api/map").catch((error) => { find("#map-said").textContent = error.message; });
    if (!answer) return;
    const bytes = await answer.arrayBuffer(), number = bytes.byteLength / 16;
    points = { rows: new Uint32Array(bytes, 0, number), values: new Float32Array(bytes, 4 * number) };
    const legend = find("#legend").getContext("2d");
    for (let x = 0; x < 160; x += 1) { legend.fillStyle = colour((x / 160) * LARGEST_MM); legend.fillRect(x, 0, 1, 10); }
  }
  draw_map();
}

function draw_map() {
  if (state.map === null || !points) return;
  const { rows, values } = points, sharp = devicePixelRatio, wide = chart.clientWidth, high = chart.clientHeight;
  chart.width = wide * sharp; chart.height = high * sharp;
  let [low_x, high_x, low_y, high_y] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < rows.length; i += 1) {
    low_x = Math.min(low_x, values[3 * i]); high_x = Math.max(high_x, values[3 * i]);
    low_y = Math.min(low_y, values[3 * i + 1]); high_y = Math.max(high_y, values[3 * i + 1]);
  }
  const place = (i) => [
    12 + ((wide - 24) * (values[3 * i] - low_x)) / (high_x - low_x || 1),
    high - 12 - ((high - 24) * (values[3 * i + 1] - low_y)) / (high_y - low_y || 1),
  ];
  points.places = Array.from(rows, (_, i) => place(i));
  const pen = chart.getContext("2d");
  pen.scale(sharp, sharp);
  const side = rows.length > 5000 ? 3 : 5;
  points.places.forEach(([x, y], i) => { pen.fillStyle = colour(values[3 * i + 2]); pen.fillRect(x - side / 2, y - side / 2, side, side); });
  const at = new Map(Array.from(rows, (row, i) => [row, i]));
  for (const { number, answer } of panes) {
    if (!answer || (number === 1 && state.q2 === null)) continue;
    pen.strokeStyle = number ? "#f0a060" : "#fff";
    pen.lineWidth = 1.5;
    for (const hit of answer.hits) {
      const i = at.get(hit.row);
      if (i === undefined) continue;
      pen.beginPath();
      pen.arc(...points.places[i], 6 + 2 * number, 0, 2 * Math.PI);
      pen.stroke();
    }
  }
}

chart.addEventListener("click", (event) => {
  if (!points) return;
  let nearest = null, least = 20 ** 2;
  points.places.forEach(([x, y], i) => {
    const distance = (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2;
    if (distance < least) { least = distance; nearest = points.rows[i]; }
  });
  if (nearest !== null) open_nodule(nearest, find("#show-map"));
});
addEventListener("resize", () => { draw_map(); draw_histogram(); });

// Controls

function show_toggles() {
  find("#zoom").setAttribute("aria-pressed", String(whole));
  find("#marks").setAttribute("aria-pressed", String(marked));
  const comparing = state.q2 !== null;
  find("#compare").setAttribute("aria-pressed", String(comparing));
  document.body.classList.toggle("comparing", comparing);
  for (const element of all('.sentence[data-pane="1"], .pane[data-pane="1"]')) element.hidden = !comparing;
}

function show_values() {
  find("#alpha-said").textContent = `${Math.round(100 * Number(state.alpha))} %`;
  find("#softness-said").textContent = `${Number(state.softness)} mm`;
  const used = ["min", "max", "patients", "where"].filter((name) => state[name] !== "").length;
  find("#filters-said").textContent = used ? `(${used} in use)` : "";
}

function show_state() {
  for (const name of [...ASKED, "q", "q2"]) find(`#${name}`).value = state[name] ?? "";
  level.value = -600; width.value = 1500;
  find("#filters").open ||= ["min", "max", "patients", "where"].some((name) => state[name] !== "");
  show_values();
  show_toggles();
  show_map();
  ask_all();
  if (state.row !== null && opened?.row === Number(state.row) && opened.stack) go_to(state.at === null ? opened.stack.at : Number(state.at));
  else if (state.row !== null) open_nodule(Number(state.row), null, false);
  else close_nodule(false);
}

let typing = 0;
find("#ask").addEventListener("input", (event) => {
  state[event.target.name] = event.target.value;
  show_values();
  clearTimeout(typing);
  typing = setTimeout(() => { write_address(); ask_all(); }, event.target.type === "range" ? 0 : TYPING_MS);
});
find("#ask").addEventListener("submit", (event) => event.preventDefault());
find("#compare").addEventListener("click", () => {
  state.q2 = state.q2 === null ? "a small lung nodule" : null;
  find("#q2").value = state.q2 ?? "";
  write_address(true);
  show_toggles();
  ask_all();
  draw_histogram();
  find(state.q2 === null ? "#q" : "#q2").focus();
});
find("#show-map").addEventListener("click", () => { state.map = state.map === null ? "1" : null; write_address(true); show_map(); });
find("#share").addEventListener("click", async () => {
  const text = find("#share").textContent;
  const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
  find("#share").textContent = copied ? "Copied" : "Copy it from the address bar";
  setTimeout(() => { find("#share").textContent = text; }, 2000);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && opened) { close_nodule(); event.preventDefault(); }
  if (event.key === "/" && !event.target.matches("input, select")) { find("#q").focus(); find("#q").select(); event.preventDefault(); }
});
addEventListener("popstate", () => { state = read_address(); show_state(); });

show_state();
fetch_json("/api/collection").then((found) => {
  collection = found;
  find("#columns").replaceChildren(...collection.columns.map((name) => make("option", { value: name })));
  draw_histogram();
}).catch((error) => { find("#histogram-said").textContent = error.message; });
