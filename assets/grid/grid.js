/* The batch as a grid: every cell is a button with a token and a small note; arrow keys walk through it.

   Streamlit calls the default export again on every change of data, so the view is kept per mounting place. Text reaches the
   page through textContent only. Nothing is animated. */

const VIEWS = new WeakMap();
const NARROW = 520;                                             // pixels

export default function grid({ data, parentElement, setStateValue }) {
  let view = VIEWS.get(parentElement);
  if (!view) VIEWS.set(parentElement, view = new Grid(parentElement.querySelector(".root")));
  view.choose = (place, turn) => setStateValue("chosen", { place, turn });
  view.update(data);
  return () => { view.remove(); VIEWS.delete(parentElement); };
}

class Grid {
  constructor(root) {
    Object.assign(this, { root, chosen: null, turn: 0, at: null });
    this.scroll = make("div", root, { class: "scroll" });
    this.legend = make("p", root, { class: "legend" });
    this.forget = whenPointed((place) => { this.pointed = place; this.markPointed(); });
    this.observer = new ResizeObserver(() => root.classList.toggle("narrow", root.clientWidth < NARROW));
    this.observer.observe(root);
    this.scroll.addEventListener("click", (event) => {
      const place = this.placeOf(event.target.closest("button"));
      if (place) { this.at = place; this.reach(); this.take(place); }
    });
    this.scroll.addEventListener("pointerover", (event) => pointAt(this.placeOf(event.target.closest("button"))));
    this.scroll.addEventListener("pointerleave", () => pointAt(null));
    this.scroll.addEventListener("focusin", (event) => {
      if (event.target.matches("button:focus-visible")) pointAt(this.placeOf(event.target));
    });
    this.scroll.addEventListener("focusout", () => pointAt(null));
    this.scroll.addEventListener("keydown", (event) => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
      this.at = this.at.map((part, side) => part + move[side]);
      this.reach().focus();
      event.preventDefault();
    });
  }

  remove() { this.forget(); this.observer.disconnect(); this.root.replaceChildren(); }
  placeOf(button) { return button && [Number(button.dataset.row), Number(button.dataset.time)]; }

  update(data) {
    this.data = data;
    if (data.turn >= this.turn) { this.chosen = data.selected; this.turn = data.turn; }   // an older echo is no news
    this.draw();
  }

  take(place) {
    this.chosen = place;
    this.choose(place, ++this.turn);
    this.mark();
  }

  /* The one stop of the Tab key. */
  reach() {
    const last = [this.buttons.length - 1, this.buttons[0].length - 1];
    this.at = (this.at ?? this.chosen ?? [0, 0]).map((part, side) => between(part, 0, last[side]));
    this.buttons.flat().forEach((button) => { button.tabIndex = -1; });
    const button = this.buttons[this.at[0]][this.at[1]];
    button.tabIndex = 0;
    return button;
  }

  draw() {
    const { rows, times, looks, title, legend } = this.data, left = this.scroll.scrollLeft;
    for (const [name, value] of Object.entries(looks)) this.root.style.setProperty(`--${name}`, value);
    const focused = this.scroll.contains(this.root.getRootNode().activeElement);
    const table = make("table", null, { "aria-label": title }), head = make("tr", make("thead", table)), body = make("tbody", table);
    make("td", head);
    for (const time of times) make("th", head, { scope: "col", text: time });
    this.buttons = rows.map(({ name, cells }, row) => {
      const line = make("tr", body);
      make("th", line, { scope: "row", text: name });
      return cells.map(({ text, note, kind, said }, time) => {
        const button = make("button", make("td", line), { type: "button", class: kind, "data-row": row, "data-time": time, "aria-label": said });
        make("bdi", button, { text });
        make("span", button, { class: "note", text: note });
        return button;
      });
    });
    this.scroll.replaceChildren(table);
    this.scroll.scrollLeft = left;
    this.legend.replaceChildren(...legend.map((text) => make("span", null, { text })));
    this.legend.hidden = !legend.length;
    const stop = this.reach();
    if (focused) stop.focus({ preventScroll: true });
    this.mark();
  }

  mark() {
    this.buttons.forEach((line, row) => {
      line[0].closest("tr").classList.toggle("chosen", row === this.chosen?.[0]);
      line.forEach((button, time) => button.setAttribute("aria-pressed", String(row === this.chosen?.[0] && time === this.chosen?.[1])));
    });
    this.markPointed();
  }

  markPointed() {
    this.buttons?.forEach((line, row) => line.forEach((button, time) => button.classList.toggle("pointed", isPlace(this.pointed, row, time))));
  }
}
