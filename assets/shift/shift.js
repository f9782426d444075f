/* Two columns, inputs and targets, and the shift between them as arrows. A token is chosen wherever it stands: once as a
   target, once as an input.

   The table is a real one; the arrows are decoration on top of it, measured from the cells after every change of size.
   Streamlit calls the default export again on every change of data, so the view is kept per mounting place. Text reaches the
   page through textContent only. Nothing is animated. */

const VIEWS = new WeakMap();
const NARROW = 520;                                             // pixels
/* The name of SVG's elements looks like an address. Asked of the browser it needs no place here, where no address may stand. */
const SVG = new DOMParser().parseFromString("<svg></svg>", "text/html").body.firstChild.namespaceURI;

export default function shift({ data, parentElement, setStateValue }) {
  let view = VIEWS.get(parentElement);
  if (!view) VIEWS.set(parentElement, view = new Shift(parentElement.querySelector(".root")));
  view.choose = (place, turn) => setStateValue("chosen", { place, turn });
  view.update(data);
  return () => { view.remove(); VIEWS.delete(parentElement); };
}

class Shift {
  constructor(root) {
    Object.assign(this, { root, chosen: null, turn: 0, at: [0, 0] });
    this.picture = make("div", root, { class: "picture" });
    this.legend = make("p", root, { class: "legend" });
    this.forget = whenPointed((place) => { this.pointed = place; this.markPointed(); });
    this.observer = new ResizeObserver(() => this.data && this.measure());
    this.observer.observe(root);
    this.picture.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.take(Number(button.dataset.token));
    });
    this.picture.addEventListener("pointerover", (event) => this.point(event.target.closest("button")));
    this.picture.addEventListener("pointerleave", () => this.point(null));
    this.picture.addEventListener("focusout", () => this.point(null));
    this.picture.addEventListener("focusin", (event) => {
      if (!event.target.dataset.row) return;
      this.at = [Number(event.target.dataset.row), Number(event.target.dataset.side)];
      if (event.target.matches(":focus-visible")) this.point(event.target);
    });
    this.picture.addEventListener("keydown", (event) => this.key(event));
  }

  remove() { this.forget(); this.observer.disconnect(); this.root.replaceChildren(); }

  update(data) {
    this.data = data;
    if (data.turn >= this.turn) { this.chosen = data.selected?.[0] ?? null; this.turn = data.turn; }   // an older echo is no news
    this.draw();
  }

  /* The sentence is the first row of the page's batch. */
  point(button) { pointAt(button && [0, Number(button.dataset.token)]); }

  take(token) {
    this.chosen = token;
    this.choose([token], ++this.turn);
    this.mark();
  }

  key(event) {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    this.at = [between(this.at[0] + move[0], 0, this.data.rows.length - 1), between(this.at[1] + move[1], 0, 1)];
    this.reach().focus();
    event.preventDefault();
  }

  /* The one stop of the Tab key. */
  reach() {
    this.buttons.flat().forEach((button) => { button.tabIndex = -1; });
    const button = this.buttons[Math.min(this.at[0], this.buttons.length - 1)][this.at[1]];
    button.tabIndex = 0;
    return button;
  }

  draw() {
    const { rows, heads, looks, caption, legend } = this.data;
    for (const [name, value] of Object.entries(looks)) this.root.style.setProperty(`--${name}`, value);
    const focused = this.picture.contains(this.root.getRootNode().activeElement);
    const table = make("table", null), head = make("tr", make("thead", table)), body = make("tbody", table);
    make("caption", table, { class: "unseen", text: caption });
    make("th", head, { scope: "col", class: "time", text: "t" });
    this.heading(head, heads[0], "");
    make("td", head, { class: "lane" });
    this.heading(head, heads[1], "");
    this.heading(head, heads[2], "loss");
    this.buttons = rows.map((row, at) => {
      const line = make("tr", body);
      make("th", line, { scope: "row", class: "time", text: at });
      const input = this.token(make("td", line), row.input, at, 0);
      make("td", line, { class: "lane" });
      const target = this.token(make("td", line), row.target, at, 1);
      const loss = make("td", line, { class: "loss" });
      make("span", loss, { text: row.loss });
      make("span", loss, { class: "bar", "aria-hidden": "true" }).style.width = `${100 * row.share}%`;
      return [input, target];
    });
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("aria-hidden", "true");
    this.picture.replaceChildren(table, this.svg);
    this.legend.replaceChildren(...legend.map((text) => make("span", null, { text })));
    const stop = this.reach();
    if (focused) stop.focus({ preventScroll: true });
    this.measure();
    this.mark();
  }

  heading(line, [text, note], kind) {
    const cell = make("th", line, { scope: "col", class: kind, text });
    if (note) make("small", cell, { text: note });
  }

  token(cell, { text, symbol, special }, row, side) {
    const button = make("button", cell, { type: "button", "data-row": row, "data-side": side, "data-token": row + side });
    button.classList.toggle("special", special);
    make("bdi", button, { text });
    make("span", button, { class: "symbol", text: symbol });
    return button;
  }

  /* From the target of row r to the input of row r + 1: the same token, one row lower. */
  measure() {
    this.root.classList.toggle("narrow", this.root.clientWidth < NARROW);
    if (!this.root.clientWidth || !this.svg) return;            // in a closed tab; the observer calls again
    const outer = this.picture.getBoundingClientRect();
    const line = (tag, parent, settings) => {
      const element = document.createElementNS(SVG, tag);
      for (const [name, value] of Object.entries(settings)) element.setAttribute(name, value);
      parent.append(element);
      return element;
    };
    this.svg.replaceChildren();
    this.arrows = this.buttons.slice(1).map(([input], at) => {
      const from = this.buttons[at][1].getBoundingClientRect(), to = input.getBoundingClientRect();
      const x0 = from.left - outer.left - 2, y0 = from.top - outer.top + from.height / 2;
      const x1 = to.right - outer.left + 4, y1 = to.top - outer.top + to.height / 2, middle = (x0 + x1) / 2;
      const group = line("g", this.svg, {});
      line("path", group, { d: `M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${x1 + 7} ${y1}` });
      line("polygon", group, { points: `${x1},${y1} ${x1 + 8},${y1 - 4.5} ${x1 + 8},${y1 + 4.5}` });
      return group;
    });
    this.mark();
  }

  /* The chosen token as target and as input, the arrow between them, and what its prediction reads. */
  mark() {
    const read = this.data.reads_all && this.chosen ? this.data.rows.length : this.chosen ?? 0;
    this.buttons.flat().forEach((button) => {
      const token = Number(button.dataset.token), input = button.dataset.side === "0";
      button.setAttribute("aria-pressed", String(token === this.chosen));
      button.classList.toggle("seen", input && token < read);
    });
    this.markPointed();
    this.arrows?.forEach((arrow, at) => arrow.classList.toggle("chosen", at + 1 === this.chosen));
  }

  markPointed() {
    this.buttons?.flat().forEach((button) => {
      button.classList.toggle("pointed", isPlace(this.pointed, 0, Number(button.dataset.token)));
    });
  }
}
