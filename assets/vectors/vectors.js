/* Rows of numbers as strips of coloured cells, a canvas each, on one diverging scale around 0.

   Streamlit calls the default export again on every change of data or theme, so the view is kept per mounting place. Text
   reaches the page through textContent only. Nothing is animated. */

const VIEWS = new WeakMap();
const NARROW = 560;                                             // pixels; below, a strip's name stands over it
const WIDEST = 18;                                              // pixels of a cell
const TINT = 0.12;                                              // of the colour in the ground of what has a meaning
const MINUS = "\u2212";

export default function vectors({ data, parentElement, setStateValue }) {
  let view = VIEWS.get(parentElement);
  if (!view) VIEWS.set(parentElement, view = new Vectors(parentElement.querySelector(".root")));
  view.choose = (place, turn) => setStateValue("chosen", { place, turn });
  view.update(data);
  return () => { view.remove(); VIEWS.delete(parentElement); };
}

const parts = (color) => color[0] === "#" ? [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16))
                                          : color.match(/[\d.]+/g).slice(0, 3).map(Number);
const dark = (color) => parts(color).reduce((sum, part) => sum + part, 0) < 384;

const mix = (one, other, share) => `rgb(${one.map((part, at) => Math.round(part + (other[at] - part) * share)).join(",")})`;

/* 256 steps between evenly spaced stops. */
function ramp(stops) {
  const ends = stops.map(parts);
  return Array.from({ length: 256 }, (_, step) => {
    const place = step / 255 * (ends.length - 1), left = Math.min(Math.floor(place), ends.length - 2);
    return mix(ends[left], ends[left + 1], place - left);
  });
}

const said = (value) => (value === 0 ? "0" : Math.abs(value) < 1e-3 ? value.toExponential(2).replace("e", " · 10^") : value.toFixed(4))
  .replaceAll("-", MINUS);

class Vectors {
  constructor(root) {
    Object.assign(this, { root, chosen: null, turn: 0, lines: [], at: [0, 0], active: null });
    this.rows = make("div", root, { class: "rows", tabindex: 0, role: "application", "aria-roledescription": "strips of numbers" });
    this.legend = make("div", root, { class: "legend" });
    saveButtons(root, this);
    this.tip = make("div", root, { class: "tip", "aria-hidden": "true", hidden: "" });
    this.live = make("div", root, { class: "unseen", "aria-live": "polite" });
    this.observer = new ResizeObserver(() => { if (this.data && root.clientWidth !== this.width) this.draw(); });
    this.observer.observe(root);
    for (const name of ["pointermove", "pointerdown"]) this.rows.addEventListener(name, (event) => this.point(this.cellAt(event)));
    root.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") this.point(null); });
    this.rows.addEventListener("blur", () => this.point(null));
    this.rows.addEventListener("focus", () => { if (this.rows.matches(":focus-visible")) this.go(this.chosen ?? this.at[0], this.at[1]); });
    this.rows.addEventListener("keydown", (event) => this.key(event));
    this.rows.addEventListener("click", (event) => {
      const row = this.lines.findIndex((line) => line.row.contains(event.target));
      if (row >= 0) this.at = this.cellAt(event) ?? [row, this.at[1]];                    // the keyboard goes on from here
      if (row >= 0 && this.data.pressable) this.take(row);
    });
  }

  remove() { this.observer.disconnect(); this.root.replaceChildren(); }

  update(data) {
    this.data = data;
    if (data.turn >= this.turn) { this.chosen = data.selected; this.turn = data.turn; }   // an older echo is no news
    this.build();
    this.draw();
  }

  /* The elements that the data ask for; what exists is kept, so the place in a long table is kept too. */
  build() {
    const { rows, title, look, pressable } = this.data;
    while (this.lines.length > rows.length) this.lines.pop().row.remove();
    while (this.lines.length < rows.length) {
      const row = make("div", this.rows, { class: "row" }), name = make("div", row, { class: "name" });
      this.lines.push({ row, name, canvas: make("canvas", row) });
    }
    const anyMark = rows.some(({ marked }) => marked);
    rows.forEach(({ name, note, marked }, at) => {
      const line = this.lines[at];
      line.name.replaceChildren();
      if (anyMark) make("span", line.name, { class: "sign", text: marked ? "\u25CF" : "" });
      make("bdi", line.name, { text: name, ...(look === "table" && { title: name }) });
      if (note) make("span", line.name, { class: "note", text: note });
      line.row.classList.toggle("marked", marked);
    });
    this.root.className = `root ${look}${pressable ? " pressable" : ""}${this.data.color ? " meant" : ""}`;
    this.rows.setAttribute("aria-label", `${title}: ${rows.length} by ${rows[0].values.length} numbers. Arrow keys move`
      + `${pressable ? ", Enter chooses a row" : ""}, Escape ends.`);
    this.at = [between(this.at[0], 0, rows.length - 1), between(this.at[1], 0, rows[0].values.length - 1)];
    this.point(null);
    this.mark();
  }

  draw() {
    this.width = this.root.clientWidth;
    if (!this.width) return;                                    // in a closed tab; the observer calls again
    const { rows, reach, looks, mark_name: markName } = this.data, css = getComputedStyle(this.root);
    const get = (name, other) => css.getPropertyValue(`--st-${name}`).trim() || other;
    const ground = get("background-color", "#ffffff"), look = looks[dark(ground) ? "dark" : "light"], { color } = this.data;
    for (const [name, value] of Object.entries({ muted: look.muted, ink: look.ink, color: color || "transparent",
                                                 tint: color ? mix(parts(ground), parts(color), TINT) : "transparent", names: this.data.names })) {
      this.root.style.setProperty(`--${name}`, value);
    }
    this.text = get("text-color", "#1c2632");
    this.colors = ramp(look.colors);
    this.root.classList.toggle("narrow", this.width < NARROW);
    this.root.classList.add("measuring");                       // how wide the names are if they may be
    const widest = Math.max(...this.lines.map(({ name }) => name.offsetWidth));
    this.root.classList.remove("measuring");
    this.root.style.setProperty("--widest", `${widest}px`);
    const dpr = density(), count = rows[0].values.length, { row, canvas } = this.lines[0];
    for (const { canvas } of this.lines) canvas.style.cssText = "width: 0";               // to see how much room there is
    this.root.style.setProperty("--spare", "0px");
    const room = row.clientWidth - (canvas.offsetLeft - row.offsetLeft) - 2 * canvas.clientLeft;
    this.side = Math.max(1, Math.floor(Math.min(room / count, WIDEST) * dpr)) / dpr;
    this.root.style.setProperty("--spare", `${Math.max(0, room - count * this.side)}px`);   // whole cells leave a rest: a row ends with them
    this.height = canvas.clientHeight;
    rows.forEach((_, row) => this.paint(row));
    const bar = [], scale = make("div", null, { class: "scale" }), brief = (value) => String(Number(value.toPrecision(3))).replace("-", MINUS);
    bar.push(scale);
    make("div", scale, { class: "ramp" }).style.background = `linear-gradient(to right, ${this.colors.filter((_, at) => at % 15 === 0).join(",")})`;
    for (const value of [-reach, 0, reach]) make("span", scale, { text: brief(value) });
    if (markName) bar.push(make("span", null, { text: `\u25CF ${markName}` }));
    this.legend.replaceChildren(...bar);
  }

  paint(row) {
    const { values } = this.data.rows[row], { side, height } = this;
    drawOn(this.lines[row].canvas, side * values.length, height, (pen) => {
      values.forEach((value, at) => {
        pen.fillStyle = this.colors[Math.round(127.5 + 127.5 * between(value / this.data.reach, -1, 1))];
        pen.fillRect(at * side, 0, side, height);
      });
      const [active, column] = this.active ?? [];
      if (column === undefined || (active !== row && this.data.look === "table")) return;
      pen.strokeStyle = this.text; pen.lineWidth = 2;
      pen.strokeRect(column * side, 1, side, height - 2);
    });
  }

  title() { return this.data.title; }

  /* The numbers, a row per vector. */
  tables() {
    const { rows, title } = this.data, table = make("table");
    make("caption", table, { text: title });
    const head = make("tr", make("thead", table)), body = make("tbody", table), notes = rows.some(({ note }) => note);
    for (let at = notes ? -2 : -1; at < 0; at++) make("td", head);
    rows[0].values.forEach((_, at) => make("th", head, { scope: "col", text: this.data.columns[at] ?? at + 1 }));
    for (const { name, note, values } of rows) {
      const line = make("tr", body);
      make("th", line, { scope: "row", text: name });
      if (notes) make("td", line, { text: note });
      for (const value of values) make("td", line, { text: said(value) });
    }
    return [table];
  }

  mark() { this.lines.forEach(({ row }, at) => row.classList.toggle("chosen", at === this.chosen)); }

  take(row) {
    this.chosen = row;
    this.choose([row], ++this.turn);
    this.mark();
  }

  cellAt(event) {
    const row = this.lines.findIndex(({ canvas }) => canvas === event.target);
    return row < 0 ? null : [row, between(Math.floor(event.offsetX / this.side), 0, this.data.rows[row].values.length - 1)];
  }

  key(event) {
    const { rows, pressable } = this.data, [row, column] = this.at, last = rows[0].values.length - 1;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const to = { ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
                 Home: [row, 0], End: [row, last] }[event.key];
    if (to) this.go(...to);
    else if (event.key === "Escape") this.point(null);
    else if (pressable && (event.key === "Enter" || event.key === " ")) this.take(row);
    else return;
    event.preventDefault();
  }

  /* Move the keyboard's cell, show it, and say it. */
  go(row, column) {
    const { rows } = this.data;
    this.at = [between(row, 0, rows.length - 1), between(column, 0, rows[0].values.length - 1)];
    this.lines[this.at[0]].row.scrollIntoView({ block: "nearest" });
    this.point(this.at);
    const { name, note, values, marked } = rows[this.at[0]];
    this.live.textContent = `${name} ${note}${marked ? `, ${this.data.mark_name}` : ""}, ${this.column(this.at[1])}: ${said(values[this.at[1]])}`;
  }

  /* What the numbers in this place are called. */
  column(at) {
    return this.data.columns[at] ?? `number ${at + 1} of ${this.data.rows[0].values.length}`;
  }

  /* The cell that is pointed at: its number, and with strips those of all strips in the same place. */
  point(cell) {
    if (cell?.join() === this.active?.join()) return;
    const changed = this.data.look === "table" ? [this.active?.[0], cell?.[0]] : this.lines.keys();
    this.active = cell;
    if (!this.colors) return;
    for (const row of changed) if (this.lines[row]) this.paint(row);
    this.tip.hidden = !cell;
    if (!cell) return;
    const { rows, look } = this.data, [row, column] = cell, { canvas } = this.lines[row];
    this.tip.replaceChildren(make("b", null, { text: this.column(column) }));
    const lines = make("div", this.tip, { class: "lines" });
    for (const { name, note, values } of look === "table" ? [rows[row]] : rows) {
      make("span", lines, { text: note ? `${name} (${note})` : name });
      make("span", lines, { text: said(values[column]) });
    }
    const outer = this.root.getBoundingClientRect(), inner = canvas.getBoundingClientRect();
    const below = look === "table" ? inner : this.lines.at(-1).canvas.getBoundingClientRect();
    const middle = inner.left - outer.left + canvas.clientLeft + (column + 0.5) * this.side - this.tip.offsetWidth / 2;
    this.tip.style.left = `${between(middle, 0, Math.max(0, this.width - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${below.bottom - outer.top + 5}px`;
  }
}
