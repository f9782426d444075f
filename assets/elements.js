/* An element with these settings, as the last one of its parent. */
function make(tag, parent, { text, ...settings } = {}) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent?.append(element);
  return element;
}
const between = (value, low, high) => Math.min(Math.max(value, low), high);
