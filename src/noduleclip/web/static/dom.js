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

// Show a message, or hide its element where there is none.
export function setMessage(element, text, isError = false) {
  element.textContent = text;
  element.classList.toggle("error", isError);
  element.hidden = text === "";
}

const readMeta = (name) => find(`meta[name="${name}"]`).content;

export const GENERATION = readMeta("generation"); // of the index that this page was made of
export const UNIT = readMeta("unit"); // what a row of the index is: "nodules" or "rows"
