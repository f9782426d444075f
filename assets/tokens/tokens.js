/* Rows of tokens above each other, column by column: inputs over targets, what was fed over what is true.

   Every group of columns is a real table. As many columns stand side by side as the width allows; the others follow below, all
   rows together. Streamlit calls the default export again on every change of data, so the view is kept per mounting place.
   Text reaches the page through textContent only. Nothing is animated. */

const VIEWS = new WeakMap();
const NARROW = 560;                                             // pixels; below, a row's name stands over its tokens
const SAYS = { own: "picked by the decoder", wrong: "picked by the decoder, not the truth", empty: "padding",
               fresh: "being predicted now" };

export default function tokens({ data, parentElement, setStateValue }) {
  let view = VIEWS.get(parentElement);
  if (!view) VIEWS.set(parentElement, view = new Strips(parentElement.querySelector(".root")));
  view.choose = (place, turn) => setStateValue("chosen", { place, turn });
  view.update(data);
  return () => { view.remove(); VIEWS.delete(parentElement); };
}

class Strips {
  constructor(root) {
    Object.assign(this, { root, chosen: null, turn: 0, stop: 0, stops: [], cells: [] });
    this.groups = make("div", root, { class: "groups" });
    this.legend = make("p", root, { class: "legend" });
    this.caption = make("p", root, { class: "caption" });
    this.tip = make("div", root, { class: "tip", "aria-hidden": "true", hidden: "" });
    this.forget = whenPointed((place) => { this.pointed = place; this.markPointed(); });
    this.observer = new ResizeObserver(() => { if (this.data && root.clientWidth !== this.width) this.draw(); });
    this.observer.observe(root);
    const column = (event) => event.target.closest?.("[data-column]");
    this.groups.addEventListener("click", (event) => {
      const cell = column(event);
      if (cell && this.data.pressable) this.take(Number(cell.dataset.column));
    });
    this.groups.addEventListener("pointerover", (event) => this.point(column(event)));
    root.addEventListener("pointerleave", () => this.point(null));
    this.groups.addEventListener("focusin", (event) => {
      this.stop = this.stops.indexOf(event.target);
      if (event.target.matches(":focus-visible")) this.point(column(event));
    });
    this.groups.addEventListener("focusout", () => this.point(null));
    this.groups.addEventListener("keydown", (event) => this.key(event));
  }

  remove() { this.forget(); this.observer.disconnect(); this.root.replaceChildren(); }

  update(data) {
    this.data = data;
    if (data.turn >= this.turn) { this.chosen = data.selected?.[0] ?? null; this.turn = data.turn; }   // an older echo is no news
    this.draw();
  }

  take(column) {
    if (column === this.chosen && this.data.stays) return;      // what the page tells about it stays too
    this.chosen = column === this.chosen ? null : column;
    this.choose(this.chosen === null ? null : [this.chosen], ++this.turn);
    this.mark();
  }

  key(event) {
    const last = this.stops.length - 1, from = this.stops.indexOf(event.target);
    if (from < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") { this.point(null); if (this.chosen !== null && this.data.pressable) this.take(this.chosen); }
    else if (to === undefined) return;                          // Enter and Space press the button by themselves
    else this.reach(between(to, 0, last)).focus();
    event.preventDefault();
  }

  /* The one stop of the Tab key. */
  reach(at) {
    this.stops.forEach((element, place) => { element.tabIndex = place === at ? 0 : -1; });
    return this.stops[at];
  }

  draw() {
    this.width = this.root.clientWidth;
    if (!this.width) return;                                    // in a closed tab; the observer calls again
    const { strips, caption, looks, pressable } = this.data;
    for (const [name, value] of Object.entries(looks)) this.root.style.setProperty(`--${name}`, value);
    const focused = this.groups.contains(this.root.getRootNode().activeElement) ? this.stop : -1;
    this.narrow = this.width < NARROW;
    this.root.classList.toggle("narrow", this.narrow);
    this.root.classList.toggle("pressable", pressable);
    this.count = Math.max(0, ...strips.map((strip) => strip.chips.length));
    this.caption.textContent = caption; this.caption.hidden = !caption;
    this.explain();
    const lines = this.lines();
    this.cells = Array.from({ length: this.count }, () => []);
    this.groups.replaceChildren(...lines.map((columns) => this.table(columns)));
    this.stops = [...this.groups.querySelectorAll(pressable ? "th button" : "[data-tip]")];
    if (!pressable) this.stops.forEach((cell) => { cell.tabIndex = -1; });
    if (this.stops.length) {
      const at = focused >= 0 ? focused : pressable && this.chosen !== null ? this.chosen : 0;
      const stop = this.reach(between(at, 0, this.stops.length - 1));
      if (focused >= 0) stop.focus({ preventScroll: true });
    }
    this.mark();
  }

  /* Which columns stand side by side: as few lines as the width allows, all about equally long. */
  lines() {
    const all = Array.from({ length: this.count }, (_, column) => column);
    if (!this.count) return [];
    this.cells = all.map(() => []);
    const table = this.table(all);
    this.groups.replaceChildren(table);
    const widths = [...table.tHead.rows[0].cells].map((cell) => cell.getBoundingClientRect().width);
    const names = this.narrow ? 0 : widths.shift();
    const pack = (room) => {
      const lines = [[]];
      let used = 0;
      for (const column of all) {
        if (used + widths[column] > room && lines.at(-1).length) { lines.push([]); used = 0; }
        lines.at(-1).push(column); used += widths[column];
      }
      return lines;
    };
    let room = this.width - names - 1, best = pack(room);
    for (let next = best; next.length === best.length && room > 40; next = pack(room -= 6)) best = next;
    return best;
  }

  table(columns) {
    const { strips, pressable } = this.data, table = make("table", null), head = make("tr", make("thead", table));
    if (!this.narrow) make("td", head);
    for (const column of columns) {
      const cell = make("th", head, { scope: "col", "data-column": column });
      if (pressable) make("button", cell, { type: "button", "aria-label": `position ${column + this.data.first}`, text: column + this.data.first });
      else { make("span", cell, { class: "unseen", text: "position " }); cell.append(column + this.data.first); }
      this.cells[column].push(cell);
    }
    for (const strip of strips) {
      const body = make("tbody", table), line = make("tr", body);
      const name = make("th", line, this.narrow ? { scope: "rowgroup", colspan: columns.length, class: "name" } : { scope: "row", class: "name" });
      const label = make("span", name, { text: strip.name });
      if (strip.color) { label.classList.add("meant"); label.style.setProperty("--color", strip.color); label.style.color = strip.ink; }
      const row = this.narrow ? make("tr", body) : line;
      for (const column of columns) {
        const cell = make("td", row, { "data-column": column }), chip = strip.chips[column];
        if (chip) this.chip(cell, chip);
        if (chip && strip.start !== null) this.place(cell, column + strip.start);
        this.cells[column].push(cell);
      }
    }
    return table;
  }

  chip(cell, { text, note, kind, tip }) {
    const chip = make("span", cell, { class: `chip ${kind}` });
    if (kind === "wrong") make("span", chip, { class: "sign", "aria-hidden": "true", text: "\u2260" });
    make("bdi", chip, { text });
    if (note) make("span", cell, { class: "note", text: note });
    if (SAYS[kind]) make("span", cell, { class: "unseen", text: `, ${SAYS[kind]}` });
    if (tip) { cell.dataset.tip = tip; make("span", cell, { class: "unseen", text: `; ${tip}` }); }
  }

  /* Which cell of the page's batch a chip shows, and whether that one is chosen elsewhere. */
  place(cell, time) {
    cell.dataset.time = time;
    if (time !== this.data.marked) return;
    cell.classList.add("picked"); make("span", cell, { class: "unseen", text: ", chosen" });
  }

  explain() {
    const used = new Set(this.data.strips.flatMap((strip) => strip.chips.map((chip) => chip.kind)));
    this.legend.replaceChildren();
    for (const kind of Object.keys(SAYS).filter((kind) => used.has(kind))) {
      const line = make("span", this.legend, { class: "means" });
      make("span", line, { class: `chip ${kind}`, "aria-hidden": "true", text: kind === "wrong" ? "\u2260" : "" });
      line.append(SAYS[kind]);
    }
    this.legend.hidden = !this.legend.children.length;
  }

  mark() {
    this.cells.forEach((column, at) => column.forEach((cell) => {
      cell.classList.toggle("chosen", at === this.chosen);
      cell.querySelector("button")?.setAttribute("aria-pressed", String(at === this.chosen));
    }));
    this.markPointed();
  }

  markPointed() {
    const { row } = this.data ?? {};
    this.cells.forEach((column) => column.forEach((cell) => {
      cell.classList.toggle("pointed", row !== null && "time" in cell.dataset && isPlace(this.pointed, row, Number(cell.dataset.time)));
    }));
  }

  /* What is pointed at: its column lights up, its tip appears. */
  point(cell) {
    const column = cell ? Number(cell.dataset.column) : -1;
    if (this.data.row !== null) {                               // the number of a column stands for its first token
      const found = cell?.tagName === "TH" ? this.cells[column].find((other) => "time" in other.dataset) : cell;
      pointAt(found && "time" in found.dataset ? [this.data.row, Number(found.dataset.time)] : null);
    }
    this.cells.forEach((cells, at) => cells.forEach((other) => other.classList.toggle("hot", at === column)));
    const tips = !cell ? [] : cell.dataset.tip ? [cell.dataset.tip]
      : cell.tagName === "TH" ? this.data.strips.flatMap(({ name, chips }) => chips[column]?.tip ? [`${name}: ${chips[column].tip}`] : []) : [];
    this.tip.hidden = !tips.length;
    if (!tips.length) return;
    this.tip.replaceChildren(...tips.map((text) => make("div", null, { text })));
    const outer = this.root.getBoundingClientRect(), inner = cell.getBoundingClientRect();
    this.tip.style.left = `${between(inner.left - outer.left + inner.width / 2 - this.tip.offsetWidth / 2, 0, this.width - this.tip.offsetWidth)}px`;
    const above = cell.tagName === "TH" ? cell.closest("table") : cell;       // a column's own chips stay in sight
    this.tip.style.top = `${above.getBoundingClientRect().bottom - outer.top + 4}px`;
  }
}
