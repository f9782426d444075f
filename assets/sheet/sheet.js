/* A real table, cell by cell through textContent: any text is safe, and a screen reader can walk through it. */

export default function sheet({ data, parentElement }) {
  const root = parentElement.querySelector(".root"), { title, columns, rows, numeric, muted } = data;
  root.style.setProperty("--muted", muted);
  root.replaceChildren();
  const box = make("div", root, { class: "scroll", tabindex: 0, role: "region", "aria-label": title });
  const table = make("table", box);
  make("span", make("caption", table), { text: title });         // stays in sight, and breaks into lines, while the table scrolls
  const head = make("tr", make("thead", table)), body = make("tbody", table);
  const cell = (tag, line, text, at) => make(tag, line, { text, class: numeric[at] ? "number" : "" });
  columns.forEach((name, at) => { cell("th", head, name, at).scope = "col"; });
  for (const row of rows) {
    const line = make("tr", body);
    row.forEach((text, at) => cell("td", line, text, at));
  }
}
