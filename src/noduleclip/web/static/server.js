// Requests to the server. Each names the generation of the index that the page is about; no other answers it.

import { find, GENERATION } from "./dom.js";
import { state, writeAddress } from "./state.js";

const UNREACHABLE = "The server does not answer. Has “noduleclip serve” ended, or the connection to it?";

// An answer that says why there is none; `details` has what the server said of it.
export class RequestError extends Error {
  constructor(message, details = {}) {
    super(message);
    this.details = details;
  }
}

export function addressOf(path, values = {}) {
  const query = new URLSearchParams(values);
  query.set("generation", GENERATION);
  return `${path}?${query}`;
}

export async function fetchAnswer(path, values) {
  const response = await fetch(addressOf(path, values)).catch(() => { throw new RequestError(UNREACHABLE, { unreachable: true }); });
  if (response.status === 409 || response.headers.get("X-Index-Replaced") === "true") find("#replaced").hidden = false;
  if (!response.ok) {
    const details = await response.json().catch(() => ({}));
    throw new RequestError(details.error ?? `The server answered with an error of number ${response.status}.`, details);
  }
  return response;
}

export const fetchJson = async (path, values) => (await fetchAnswer(path, values)).json();

find("#reopen").addEventListener("click", async () => {
  const response = await fetch("/api/reopen", { headers: { "X-Noduleclip-Reopen": "1" } }).catch(() => null);
  const found = await response?.json().catch(() => null);
  if (!response?.ok) {
    find("#replaced-message").textContent = found?.error ?? UNREACHABLE;
    return;
  }
  state.row = null;
  writeAddress();
  location.reload();
});
