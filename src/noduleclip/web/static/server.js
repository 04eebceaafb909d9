// Requests to the server. Each names the generation of the index that the page is about; no other answers it.

import { find, GENERATION } from "./dom.js";
import { state, writeAddress } from "./state.js";

export function addressOf(path, values = {}) {
  const query = new URLSearchParams(values);
  query.set("generation", GENERATION);
  return `${path}?${query}`;
}

export async function fetchAnswer(path, values) {
  const response = await fetch(addressOf(path, values));
  if (response.status === 409 || response.headers.get("X-Index-Replaced") === "true") find("#replaced").hidden = false;
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error ?? `the server answered ${response.status}`);
  return response;
}

export const fetchJson = async (path, values) => (await fetchAnswer(path, values)).json();

find("#reopen").addEventListener("click", async () => {
  const response = await fetch("/api/reopen", { headers: { "X-Noduleclip-Reopen": "1" } }).catch(() => null);
  const found = await response?.json().catch(() => null);
  if (!response?.ok) {
    find("#replaced-message").textContent = found?.error ?? "The server does not answer.";
    return;
  }
  state.row = null;
  writeAddress();
  location.reload();
});
