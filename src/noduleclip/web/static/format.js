// Numbers and verdicts as text.

import { make } from "./dom.js";

export const formatCount = (number) => number.toLocaleString("en");
export const formatSize = ({ size }) => (size === null ? "no diameter" : `${size} mm`); // "~8.2" is the model's estimate
export const formatValue = (value) => (typeof value === "number" ? String(Number(value.toPrecision(5))) : String(value));
export const capitalize = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// "spiculation 2", "~8.2 mm": what is known of a criterion.
export function formatCriterion({ name, value, is_estimated }) {
  const isSize = name === "diameter_mm", label = isSize ? "" : `${name.replaceAll("_", " ")} `;
  if (value === null) return `${isSize ? "diameter " : label}not known`;
  return `${label}${is_estimated ? "~" : ""}${isSize ? `${value.toFixed(1)} mm` : Number(value.toFixed(2))}`;
}

// A tick or a cross, with its meaning for those who do not see it.
export function makeTick({ satisfied, label, is_estimated }) {
  if (satisfied === null) return make("span", { class: "quiet" }, "?", make("span", { class: "unseen" }, ` not known whether ${label}`));
  const meaning = `${satisfied ? "is" : "is not"} ${label}${is_estimated ? ", by the model's estimate" : ""}`;
  return make("span", { class: satisfied ? "yes" : "no", title: meaning }, satisfied ? "✓" : "✗", make("span", { class: "unseen" }, ` ${meaning}`));
}
