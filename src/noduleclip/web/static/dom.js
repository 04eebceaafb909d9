// Helpers for the page's elements. Texts of the index are set as text and never as markup.

const SVG_TAGS = ["rect", "text", "title"];

export const find = (selector, within = document) => within.querySelector(selector);
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

export function make(tag, attributes = {}, ...children) {
  const element = SVG_TAGS.includes(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function makeButton(text, onClick) {
  const button = make("button", { type: "button" }, text);
  button.addEventListener("click", onClick);
  return button;
}

// Show a message, or hide its element where there is none.
export function setMessage(element, text, isError = false) {
  element.textContent = text;
  element.classList.toggle("error", isError);
  element.hidden = text === "";
}

// Show elements in a line, or hide it where there are none.
export function setChildren(element, children) {
  element.replaceChildren(...children);
  element.hidden = children.length === 0;
}

const readMeta = (name) => find(`meta[name="${name}"]`).content;

export const GENERATION = readMeta("generation"); // of the index that this page was made of
export const UNIT = readMeta("unit"); // what a row of the index is: "nodules" or "rows"
export const MOST_HITS = Number(readMeta("most-hits"));
