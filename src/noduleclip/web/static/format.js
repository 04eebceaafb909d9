// Numbers as text.

export const formatCount = (number) => number.toLocaleString("en");
export const formatSize = ({ size }) => (size === null ? "no diameter" : `${size} mm`); // "~8.2" is the model's estimate
export const formatValue = (value) => (typeof value === "number" ? String(Number(value.toPrecision(5))) : String(value));
export const capitalize = (text) => text.charAt(0).toUpperCase() + text.slice(1);
