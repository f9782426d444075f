/* A real table, cell by cell through textContent: any text is safe, and a screen reader can walk through it. */

export default function sheet({ data, parentElement }) {
  const root = parentElement.querySelector(".root"), { title, columns, rows, numeric, muted } = data;
  root.style.setProperty("--muted", muted);
  const make = (tag, parent, text) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    parent?.append(element);
    return element;
  };
  const box = make("div"), table = make("table", box);
  box.className = "scroll"; box.tabIndex = 0;
  box.setAttribute("role", "region"); box.setAttribute("aria-label", title);
  make("span", make("caption", table), title);                  // stays in sight, and breaks into lines, while the table scrolls
  const head = make("tr", make("thead", table)), body = make("tbody", table);
  columns.forEach((name, at) => {
    const cell = make("th", head, name);
    cell.scope = "col"; cell.classList.toggle("number", numeric[at]);
  });
  for (const row of rows) {
    const line = make("tr", body);
    row.forEach((text, at) => make("td", line, text).classList.toggle("number", numeric[at]));
  }
  root.replaceChildren(box);
}
