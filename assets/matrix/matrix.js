/* Draws token x token matrices on canvases: linked large ones, or one thumbnail per head.

   Streamlit calls the default export again on every change of data or theme, so everything is kept per mounting place in
   VIEWS and listeners are set once, where their element is made. Text reaches the page only through fillText and
   textContent. Nothing moves but the walk through the rows, and that only when asked to. */

const VIEWS = new WeakMap();
const MINUS = "\u2212", MINUS_INFINITY = "\u2212\u221e";
const SMALLEST = 10.5, CLOSEST = 10;                            // letters, and from label to label, in CSS pixels
const TALLEST = 160;                                            // labels of columns that stand upright
const PAUSE = 2400, GLIDE = 450;                                // milliseconds at a row, and from one to the next

export default function matrix({ data, parentElement, setStateValue, setTriggerValue }) {
  let view = VIEWS.get(parentElement);
  if (view?.name !== data.view) {
    view?.remove();
    const root = parentElement.querySelector(".root");
    view = data.view === "thumbnails" ? new Thumbnails(root) : new Matrices(root);
    VIEWS.set(parentElement, view);
  }
  view.choose = (place, turn) => setStateValue("chosen", { place, turn });
  view.press = (place) => setTriggerValue("pressed", place);
  view.update(data);
  return () => { view.remove(); VIEWS.delete(parentElement); };
}

/* ---- colours ---- */

const parts = (color) => color[0] === "#" ? [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16))
                                          : color.match(/[\d.]+/g).slice(0, 3).map(Number);
const luminance = (color) => parts(color).map((part) => part / 255)
  .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);

/* 256 steps between evenly spaced stops, each with the ink (black or white) that reads best on it. */
function ramp(stops) {
  const ends = stops.map(parts);
  return Array.from({ length: 256 }, (_, step) => {
    const place = step / 255 * (ends.length - 1), left = Math.min(Math.floor(place), ends.length - 2);
    const mix = ends[left].map((part, at) => Math.round(part + (ends[left + 1][at] - part) * (place - left)));
    const color = `rgb(${mix.join(",")})`, light = luminance(color);
    return { color, ink: (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) ? "#000" : "#fff" };
  });
}

/* Streamlit's theme where it has a variable for it, decoder/figures/style.py (in `looks`) for the rest. */
function readLook(root, looks) {
  const css = getComputedStyle(root), get = (name, other) => css.getPropertyValue(`--st-${name}`).trim() || other;
  const ground = get("background-color", "#ffffff"), look = looks[luminance(ground) < 0.2 ? "dark" : "light"];
  const weights = ramp(look.weights), scores = ramp(look.scores);
  root.style.setProperty("--muted", look.muted);
  return { ...look, ground, ramps: { weights, scores, masked_scores: scores }, font: get("font", "sans-serif"),
           text: get("text-color", "#1c2632"), primary: get("primary-color", "#0072b2") };
}

/* ---- small helpers ---- */

const signed = (text) => text.replaceAll("-", MINUS);
const exact = (value) => value === 0 ? "0" : signed(value.toPrecision(4).replace("e", " · 10^").replace("^+", "^"));
const same = (one, other) => one?.join() === other?.join();
const shut = (panel, row, column) => panel.kind !== "scores" && panel.masked[row][column] && panel.values[row][column] === null;
const total = (sum) => sum < 10 ? sum.toFixed(3) : exact(sum);

/* What both views share: one observer of the width, one look, the last choice. */
class View {
  constructor(root, name) {
    Object.assign(this, { root, name, chosen: null, turn: 0, width: 0 });
    this.observer = new ResizeObserver(() => {
      if (this.data && root.clientWidth && root.clientWidth !== this.width) this.draw();
    });
    this.observer.observe(root);
  }
  remove() { this.observer.disconnect(); cancelAnimationFrame(this.frame); this.root.replaceChildren(); }
  update(data) {
    this.data = data;
    if (data.turn >= this.turn) { this.chosen = data.selected; this.turn = data.turn; }   // an older echo is no news
    this.build();
    this.draw();
  }
  take(place) {
    if (this.data.press) return this.press(place);
    this.chosen = same(place, this.chosen) ? null : place;
    this.choose(this.chosen, ++this.turn);
  }
  draw() {
    this.width = Math.floor(this.root.clientWidth);
    if (!this.width) return;                                    // in a closed tab; the observer calls again
    this.look = readLook(this.root, this.data.looks);
    this.paint();
  }

  /* A legend: the ramp with its numbers, and what the hatch says, which has room in large cells only. */
  fillLegend(legend, { kind, low, high }, hatched) {
    legend.replaceChildren();
    const scale = make("div", legend, { class: "scale" }), bar = make("div", scale, { class: "ramp" });
    const stops = this.look.ramps[kind].filter((_, at) => at % 15 === 0).map(({ color }) => color);
    bar.style.background = `linear-gradient(to right, ${stops.join(",")})`;
    const brief = (value) => signed(String(Number(value.toPrecision(3))));
    for (const value of [low, (low + high) / 2, high]) make("span", scale, { text: brief(value) });
    if (hatched) {
      this.addSign(legend, "", kind === "weights" ? "masked: 0" : `masked: ${MINUS_INFINITY}`).style.background =
        `repeating-linear-gradient(135deg, ${this.look.hatch} 0 1px, ${this.look.masked} 1px 4.24px)`;
    }
  }
  addSign(legend, name, text) {
    const item = make("span", legend, { class: "sign" }), swatch = make("span", item, { class: `swatch ${name}` });
    item.append(text);
    return swatch;
  }

  /* A sign of the legend, for the picture that is saved. */
  sign(pen, element, { left, top, width, height }) {
    pen.translate(left, top);
    if (element.matches(".edge")) {
      pen.fillStyle = this.look.text; pen.fillRect(0, 0, width, 2); pen.fillRect(0, 0, 2, height);
    } else if (element.matches(".mark")) {
      pen.beginPath(); pen.moveTo(width * 0.36, 0); pen.lineTo(width, 0); pen.lineTo(width, height * 0.64); pen.closePath();
      pen.fillStyle = this.look.text; pen.fill();
      pen.strokeStyle = this.look.muted; pen.lineWidth = 1; pen.strokeRect(0.5, 0.5, width - 1, height - 1);
    } else {
      pen.fillStyle = hatch(pen, this.look.masked, this.look.hatch); pen.fillRect(0, 0, width, height);
    }
  }
}

/* ---- linked matrices ---- */

class Matrices extends View {
  constructor(root) {
    super(root, "matrices");
    this.panels = []; this.hover = null; this.focus = null;
    this.walk = new Walk(root, () => this.later());
    this.line = make("div", root, { class: "panels" });
    this.caption = make("p", root, { class: "caption" });
    this.details = make("details", root);
    make("summary", this.details, { text: "as a table" });
    this.sheet = make("div", this.details, { class: "sheet", tabindex: 0, role: "region", "aria-label": "numbers as a table" });
    this.details.addEventListener("toggle", () => this.fillTable());
    saveButtons(root, this);
    this.tip = make("div", root, { class: "tip", "aria-hidden": "true" });
    this.live = make("div", root, { class: "unseen", "aria-live": "polite" });
  }

  remove() { this.walk.stop(); super.remove(); }

  /* A press comes back as other numbers: they are said to whoever pressed without seeing. */
  update(data) {
    super.update(data);
    if (data.press && this.active() && !this.hover) this.say();
  }

  /* The elements that the data ask for; what exists is kept, so focus survives. */
  build() {
    const { panels, rows, columns, caption, size, press, walk } = this.data;
    this.walk.update(walk);
    this.line.classList.toggle("pressed", Boolean(press));
    while (this.panels.length > panels.length) this.panels.pop().figure.remove();
    while (this.panels.length < panels.length) this.panels.push(this.makePanel(this.panels.length));
    panels.forEach((panel, at) => {
      const view = this.panels[at];
      view.title.textContent = panel.title;
      view.note.textContent = size === "large" ? panel.note : "";
      const help = `Arrow keys move, Enter ${press || "selects"}, Escape clears.`;
      view.canvas.setAttribute("aria-label", `${panel.summary} ${help}`);
    });
    const inside = (cell) => cell && panels[cell[0]] && cell[1] < rows.length && cell[2] < columns.length ? cell : null;
    this.hover = inside(this.hover); this.focus = inside(this.focus); this.chosen = inside(this.chosen);
    this.caption.textContent = caption; this.caption.hidden = !caption;
    this.fillTable();
  }

  makePanel(at) {
    const figure = make("figure", this.line), head = make("figcaption", figure);
    const title = make("span", head, { class: "title" }), note = make("span", head, { class: "note" });
    const canvas = make("canvas", figure, { tabindex: 0, role: "application", "aria-roledescription": "matrix" });
    const legend = make("div", figure, { class: "legend" });
    const hover = (cell) => { if (!same(cell, this.hover)) { this.hover = cell; this.later(); } };
    const point = (event) => hover(this.cellAt(at, event));
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hover(null); });
    canvas.addEventListener("click", (event) => {
      const cell = this.cellAt(at, event);
      if (cell) { this.focus = cell; this.take(cell); this.later(); }
    });
    canvas.addEventListener("keydown", (event) => this.key(at, event));
    canvas.addEventListener("focus", () => {
      if (!canvas.matches(":focus-visible")) return;
      const [, row, column] = this.focus ?? this.chosen ?? [at, 0, 0];
      this.focus = [at, row, column]; this.quiet = false; this.say(); this.later();
    });
    canvas.addEventListener("blur", () => { this.hover = null; this.later(); });     // also when a finger taps elsewhere
    return { figure, head, title, note, canvas, legend };
  }

  key(at, event) {
    const { rows, columns } = this.data, R = rows.length, C = columns.length;
    let [, row, column] = this.focus ?? this.chosen ?? [at, 0, 0];
    if (event.altKey || event.metaKey) return;
    switch (event.key) {
      case "ArrowUp": row--; break;
      case "ArrowDown": row++; break;
      case "ArrowLeft": column--; break;
      case "ArrowRight": column++; break;
      case "Home": column = 0; if (event.ctrlKey) row = 0; break;
      case "End": column = C - 1; if (event.ctrlKey) row = R - 1; break;
      case "Enter": case " ": this.focus = [at, row, column]; this.take(this.focus); break;
      case "Escape":
        this.hover = null; this.quiet = true;
        if (this.chosen && !this.data.press) this.take(this.chosen);   // taking it again lets it go
        break;
      default: return;
    }
    event.preventDefault();
    if (event.key !== "Escape") { this.quiet = false; this.hover = null; }
    this.focus = [at, between(row, 0, R - 1), between(column, 0, C - 1)];
    this.say();
    this.later();
  }

  /* The cell that is pointed at, else the one under the keyboard. */
  active() {
    if (this.hover) return this.hover;
    const focused = this.focus && this.panels[this.focus[0]]?.canvas;
    return focused && !this.quiet && focused.matches(":focus-visible") ? this.focus : null;
  }

  cellAt(at, event) {
    const { cell } = this.layout, { left, top } = this.layout.places[at], { rows, columns } = this.data;
    const column = Math.floor((event.offsetX - left) / cell), row = Math.floor((event.offsetY - top) / cell);
    return row >= 0 && row < rows.length && column >= 0 && column < columns.length ? [at, row, column] : null;
  }

  later() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => { if (this.look && this.width) { this.drawCells(); this.showTip(); } });
  }

  /* How a cell is called in words. */
  words(panel, row, column) {
    const value = panel.values[row][column], closed = panel.masked[row][column];
    if (shut(panel, row, column)) return panel.kind === "weights" ? "0, masked" : `${MINUS_INFINITY}, masked`;
    const plan = panel.kind === "scores" ? "will be masked" : "should be masked";
    return (value === null ? "not a finite number" : exact(value)) + (closed ? `, ${plan}` : "");
  }

  say() {
    const { panels, rows, columns } = this.data, [at, row, column] = this.focus;
    const order = [panels[at], ...panels.filter((_, other) => other !== at)];
    this.live.textContent = `${rows[row]} looks at ${columns[column]}: `
      + order.map((panel) => `${panel.title} ${this.words(panel, row, column)}`).join("; ")
      + (same(this.focus, this.chosen) ? "; selected." : ".");
  }

  showTip() {
    const cell = this.active();
    this.tip.hidden = !cell;
    if (!cell) return;
    const { panels, rows, columns } = this.data, [at, row, column] = cell;
    this.tip.replaceChildren();
    const head = make("div", this.tip);
    make("b", head, { text: rows[row] }); head.append(" looks at "); make("b", head, { text: columns[column] });
    const lines = make("div", this.tip, { class: "lines" });
    for (const panel of panels) {
      make("span", lines, { text: panel.title });
      make("span", lines, { text: this.words(panel, row, column) });
    }
    const outer = this.root.getBoundingClientRect(), inner = this.panels[at].canvas.getBoundingClientRect();
    const { cell: side } = this.layout, { left, top } = this.layout.places[at];
    const x = inner.left - outer.left + left + column * side, y = inner.top - outer.top + top + row * side;
    const below = y + side + 8, above = y - this.tip.offsetHeight - 8;
    const room = below + this.tip.offsetHeight <= Math.min(this.root.offsetHeight, window.innerHeight - outer.top) || above < 0;
    this.tip.style.left = `${between(x + side / 2 - this.tip.offsetWidth / 2, 0, this.width - this.tip.offsetWidth)}px`;
    this.tip.style.top = `${room ? below : above}px`;
  }

  /* How many panels stand side by side, and the one size of all cells: as large as the width allows. */
  paint() {
    const { panels, rows, columns, size } = this.data, R = rows.length, C = columns.length;
    const dpr = density(), small = size === "small";
    let largest = small ? 20 : between(520 / R, 20, 64);
    const gap = 26, axis = 18, edge = 3;
    const numbers = !small && Math.max(R, C) <= 12, needed = numbers ? 28 : small ? 7 : 11.5, body = small ? 120 : 145;
    const enough = numbers ? 34 : CLOSEST;                      // cells need not be larger before all labels are whole
    const pen = this.panels[0].canvas.getContext("2d");
    const sumTexts = panels.flatMap((panel) => (panel.row_sums ?? []).map((sum) => `= ${total(sum)}`));
    const widest = (texts, font) => {
      pen.font = `600 ${font}px ${this.look.font}`;
      return Math.ceil(Math.max(...texts.map((text) => pen.measureText(text).width)));
    };
    let font = SMALLEST, across = panels.length, cell, left, right, summed = true, whole;
    const measure = () => {                                     // the size of a cell with so many panels side by side; 0: too many
      const names = widest(rows, font) + 10, index = widest(rows.map((row) => row.split(" ")[0]), font) + 10;
      const sums = widest(sumTexts, font) + 12, lines = [];
      right = (at) => edge + (panels[at].row_sums && summed ? sums : 0);
      for (let start = 0; start < panels.length; start += across) lines.push(panels.slice(start, start + across).map((_, at) => start + at));
      const rooms = lines.map((line) => this.width - (gap + index) * (line.length - 1) - line.reduce((sum, at) => sum + right(at), 0));
      const spare = Math.min(...rooms.map((room, at) => room - axis - lines[at].length * C * Math.min(enough, largest)));
      const label = axis + Math.min(names, Math.floor(Math.max(this.width * 0.2, 72, spare)));
      whole = label === axis + names;
      left = (at) => at % across === 0 ? label : index;
      cell = Math.min(...rooms.map((room, at) => {
        const count = lines[at].length, side = Math.floor(between((room - label) / (count * C), 4, largest) * dpr) / dpr;
        return across > 1 && count * Math.max(side * C, body) > room - label ? 0 : side;
      }));
      return cell;
    };
    while (measure() < needed && across > 1) across--;          // as many as leave readable cells
    across = Math.ceil(panels.length / Math.ceil(panels.length / across));   // four as two and two, not three and one
    if (across < panels.length) largest = Math.min(largest, 52);
    measure();
    if (cell < needed) { summed = false; measure(); }           // on a phone the legend says what each row sums to
    font = between(cell * 0.22 + 7.5, SMALLEST, 15);            // larger labels must not take the room of the cells, nor be cut
    while ((!measure() || !whole) && font > SMALLEST) font = Math.max(SMALLEST, font - 0.5);
    const wide = widest(columns, font), flat = wide <= cell - 5, top = 20 + Math.round(flat ? font * 1.3 : Math.min(wide, TALLEST)) + 7;
    this.layout = { cell, font, flat, numbers, dpr, axis, summed, step: Math.ceil(CLOSEST / cell) };
    this.layout.places = panels.map((_, at) => ({ first: at % across === 0, left: left(at), top, height: top + R * cell + edge,
                                                  width: Math.min(this.width, left(at) + C * cell + right(at)) }));
    this.line.style.gridTemplateColumns = `repeat(${across}, max-content)`;
    this.line.style.columnGap = `${gap}px`;
    this.panels.forEach((view, at) => {                         // titles and legends stand in line with the cells
      const { width, left } = this.layout.places[at], last = at >= across && at === panels.length - 1;
      const room = Math.min(this.width, last ? left + Math.max(C * cell, body) : Math.max(width, left + body));
      view.figure.style.width = `${room}px`;
      view.head.style.paddingLeft = view.legend.style.paddingLeft = `${left}px`;
      this.explain(view.legend, panels[at]);
    });
    this.drawCells();
    this.showTip();
  }

  explain(legend, panel) {
    const { data } = this, places = panel.masked.flatMap((row, y) => row.flatMap((closed, x) => closed ? [[y, x]] : []));
    const hatched = places.filter(([row, column]) => shut(panel, row, column)).length;
    this.fillLegend(legend, panel, hatched);
    if (hatched < places.length) this.addSign(legend, "edge", "edge of the mask");
    if (panel.row_sums && !this.layout.summed) {                // there is no room beside the rows
      const sums = panel.row_sums.map(total), alike = new Set(sums).size === 1;
      make("span", legend, { text: alike ? `each row sums to ${sums[0]}` : "each row sums to" });
      const list = make("div", alike ? null : legend, { class: "sums" });
      sums.forEach((sum, row) => {
        const line = make("div", list);
        make("span", line, { text: data.rows[row] });
        make("span", line, { text: `= ${sum}` });
      });
    }
    if (data.marks.length && data.mark_name) this.addSign(legend, "mark", data.mark_name);
  }

  drawCells() {
    this.data.panels.forEach((panel, at) => {
      const { width, height } = this.layout.places[at];
      drawOn(this.panels[at].canvas, width, height, (pen) => this.drawPanel(pen, panel, at));
    });
  }

  drawPanel(ctx, panel, at) {
    const { panels, rows, columns, bright_row, marks, cross } = this.data, { look, layout } = this;
    const bright = this.walk.row ?? bright_row, walking = this.walk.row !== null;
    const crossed = cross && !walking && this.chosen;
    const { cell, font, flat, step, dpr, numbers } = layout, R = rows.length, C = columns.length, active = this.active();
    const { left, top, height, first } = layout.places[at];
    const type = (weight, px) => { ctx.font = `${weight} ${px}px ${look.font}`; };
    const closed = (row, column) => Boolean(panel.masked[row]?.[column]);
    const colors = look.ramps[panel.kind], thin = cell >= 9 ? Math.max(1, Math.floor(dpr)) / dpr : 0;
    const span = panel.high - panel.low;
    const shadeOf = (value) => value === null ? null : colors[Math.round(255 * between((value - panel.low) / span, 0, 1))];
    const texts = numbers ? cellTexts(ctx, panel, cell, look.font) : null;
    const sign = panel.kind === "weights" ? "0" : MINUS_INFINITY, pattern = hatch(ctx, look.masked, look.hatch);
    let edged = false;
    ctx.textAlign = "center"; ctx.textBaseline = "middle";
    for (let row = 0; row < R; row++) for (let column = 0; column < C; column++) {
      const x = left + column * cell, y = top + row * cell, value = panel.values[row][column];
      const shade = shadeOf(value);
      const masked = shut(panel, row, column);
      edged ||= closed(row, column) && !masked;
      ctx.fillStyle = masked ? pattern : shade?.color ?? look.ground;
      ctx.fillRect(x, y, cell - thin, cell - thin);
      const text = masked ? cell >= 22 && sign : value === null ? "?" : texts?.at(row, column);
      if (!text) continue;
      type(masked ? 500 : 400, Math.min(texts?.font ?? 15, between(cell * 0.4, 10, 15)));
      if (masked) {                                             // the sign on quiet ground, not across the lines
        const half = ctx.measureText(text).width / 2 + 2, tall = between(cell * 0.22, 5, 9);
        ctx.fillStyle = look.masked;
        ctx.fillRect(x + (cell - thin) / 2 - half, y + (cell - thin) / 2 - tall, 2 * half, 2 * tall);
      }
      ctx.fillStyle = masked ? look.sign : shade?.ink ?? look.text;
      ctx.fillText(text, x + (cell - thin) / 2, y + (cell - thin) / 2 + 0.5);
    }
    for (const [row, column] of marks) {
      const x = left + (column + 1) * cell - thin, y = top + row * cell, side = Math.max(5, cell * 0.26);
      ctx.beginPath(); ctx.moveTo(x - side, y); ctx.lineTo(x, y); ctx.lineTo(x, y + side); ctx.closePath();
      const ink = shadeOf(panel.values[row]?.[column] ?? null)?.ink;
      ctx.fillStyle = ink ?? look.text; ctx.fill();
    }
    const lit = walking ? this.walk.place : bright;             // on its way from row to row, a fraction of one
    if (lit !== null) {
      ctx.globalAlpha = 0.78; ctx.fillStyle = look.ground;
      ctx.fillRect(left, top, C * cell, lit * cell);
      ctx.fillRect(left, top + (lit + 1) * cell, C * cell, (R - lit - 1) * cell);
      ctx.globalAlpha = 1;
    }

    const faint = (row) => bright !== null && row !== bright ? 0.5 : 1;
    const unseen = (column) => walking && panels.at(-1).masked[bright]?.[column] ? 0.35 : 1;
    const near = (at, chosen) => chosen !== undefined && at !== chosen && Math.abs(at - chosen) < step;
    ctx.textAlign = "right";
    for (let row = 0; row < R; row++) {
      const strong = row === active?.[1] || row === bright || (crossed && row === crossed[1]), y = top + (row + 0.5) * cell;
      if ((row % step && !strong) || near(row, active?.[1])) continue;
      type(strong ? 600 : 400, font);
      ctx.globalAlpha = faint(row);
      const text = first ? fit(ctx, rows[row], left - layout.axis - 7) : rows[row].split(" ")[0];
      label(ctx, text, left - 7, y, look, strong);
      if (panel.row_sums && layout.summed) {
        ctx.textAlign = "left"; ctx.fillStyle = strong ? look.text : look.muted;
        ctx.fillText(`= ${total(panel.row_sums[row])}`, left + C * cell + 8, y);
        ctx.textAlign = "right";
      }
      ctx.globalAlpha = 1;
    }
    for (let column = 0; column < C; column++) {
      const strong = column === active?.[2] || (crossed && column === crossed[2]), x = left + (column + 0.5) * cell;
      if ((column % step && !strong) || near(column, active?.[2])) continue;
      type(strong ? 600 : 400, font);
      ctx.globalAlpha = unseen(column);
      ctx.save(); ctx.translate(x, top - 7); ctx.textAlign = flat ? "center" : "left";
      if (!flat) ctx.rotate(-Math.PI / 2);
      label(ctx, fit(ctx, columns[column], flat ? cell : TALLEST), 0, flat ? -font * 0.5 : 0, look, strong);
      ctx.restore();
      ctx.globalAlpha = 1;
    }
    type(400, 12); ctx.fillStyle = look.muted; ctx.textAlign = "left";
    if (at === 0) {
      if (this.data.axes[1]) ctx.fillText(`${this.data.axes[1]} \u2192`, left, 9);
      const title = this.data.axes[0], half = ctx.measureText(title).width / 2 + 2;
      ctx.save(); ctx.translate(8, Math.max(half, Math.min(top + R * cell / 2, height - half)));
      ctx.rotate(-Math.PI / 2); ctx.textAlign = "center"; ctx.fillText(title, 0, 0); ctx.restore();
    }
    if (panel.row_sums && layout.summed) ctx.fillText("sum", left + C * cell + 8, top - 7 - font * 0.5);
    if (walking) frame(ctx, left, top, cell, thin, [at, lit, 0], look, look.primary, 2, C);
    else if (crossed) {
      const [, row, column] = crossed;
      frame(ctx, left, top, cell, thin, [at, row, 0], look, look.primary, 1.5, C);
      frame(ctx, left, top, cell, thin, [at, 0, column], look, look.primary, 1.5, 1, R);
    }
    if (edged) this.drawEdge(ctx, closed, left, top, thin);
    if (this.chosen && !walking) {
      frame(ctx, left, top, cell, thin, this.chosen, look, look.primary, this.chosen[0] === at ? 3 : 2);
    }
    if (active) frame(ctx, left, top, cell, thin, active, look, look.text, 2);
  }

  /* The staircase: a line wherever open and closed cells meet. */
  drawEdge(ctx, closed, left, top, thin) {
    const { cell } = this.layout, { rows, columns } = this.data;
    ctx.save();
    ctx.beginPath(); ctx.rect(left, top, columns.length * cell, rows.length * cell); ctx.clip();
    ctx.beginPath();
    for (let row = 0; row < rows.length; row++) for (let column = 0; column < columns.length; column++) {
      const x = left + column * cell - thin / 2, y = top + row * cell - thin / 2;
      if (column && closed(row, column) !== closed(row, column - 1)) { ctx.moveTo(x, y); ctx.lineTo(x, y + cell); }
      if (row && closed(row, column) !== closed(row - 1, column)) { ctx.moveTo(x, y); ctx.lineTo(x + cell, y); }
    }
    ctx.lineCap = "square";
    for (const [color, width] of [[this.look.ground, 4], [this.look.text, 2]]) {
      ctx.strokeStyle = color; ctx.lineWidth = width; ctx.stroke();
    }
    ctx.restore();
  }

  fillTable() { this.sheet.replaceChildren(...(this.details.open ? this.tables() : [])); }

  title() { return this.data.panels.map((panel) => panel.title).join(", "); }

  /* The numbers, a table per matrix. */
  tables() {
    const { panels, rows, columns } = this.data;
    return panels.map((panel) => {
      const table = make("table"), open = panel.masked.every((row) => !row.some(Boolean));
      const plan = panel.kind === "scores" ? "will be masked" : panel.leaks ? "should be masked" : "masked";
      make("caption", table, { text: open ? panel.title : `${panel.title} (in brackets: ${plan})` });
      const head = make("tr", make("thead", table)), body = make("tbody", table);
      make("td", head, { text: "looks at" });
      for (const column of columns) make("th", head, { scope: "col", text: column });
      if (panel.row_sums) make("th", head, { scope: "col", text: "sum" });
      rows.forEach((name, row) => {
        const line = make("tr", body);
        make("th", line, { scope: "row", text: name });
        columns.forEach((_, column) => {
          const closed = panel.masked[row][column], text = this.words(panel, row, column).split(",")[0];
          make("td", line, { text: closed ? `(${text})` : text, class: closed ? "masked" : "" });
        });
        if (panel.row_sums) make("td", line, { text: exact(panel.row_sums[row]) });
      });
      return table;
    });
  }
}

/* The numbers for the cells: two decimals if they fit in a readable size, else fewer, else none. One decimal of a share says too
   little; exponentials differ so much that three digits say more than equally many decimals. */
function cellTexts(ctx, panel, cell, family) {
  const decimals = (count) => () => count, three = (value) => between(2 - Math.floor(Math.log10(Math.abs(value) || 1)), 0, 2);
  const choices = panel.kind !== "weights" ? [[decimals(2), 11.5], [decimals(1), 9.5], [decimals(0), 9.5]]
                : panel.high <= 1 ? [[decimals(2), 9.5]] : [[decimals(2), 11.5], [three, 9.5], [decimals(0), 9.5]];
  for (const [digits, least] of choices) {
    const text = (value) => value === null ? "" : (panel.kind === "weights" && rounded(value, digits(value)))
                                               || signed(value.toFixed(digits(value))).replace(/^\u2212(0\.0+)$/, "$1");
    const texts = panel.values.map((row) => row.map(text));
    ctx.font = `100px ${family}`;
    const widest = Math.max(...texts.flat().map((text) => ctx.measureText(text).width)) / 100;
    const font = Math.min(15, (cell - 4) / widest, cell * 0.4);
    if (font >= least) return { font, at: (row, column) => texts[row][column] };
  }
  return null;
}

/* What is not 0 is not written as 0, and a share that is not 1 not as 1: only a mask gives exactly 0. */
function rounded(value, count) {
  const text = value.toFixed(count), brief = (number) => number.toFixed(count).replace(/^0\./, ".");
  if (value > 0 && Number(text) === 0) return `<${brief(10 ** -count)}`;
  return value < 1 && Number(text) === 1 && count ? `>${brief(1 - 10 ** -count)}` : "";
}

/* "3 the" with a quiet 3, drawn as one line. */
function label(ctx, text, x, y, look, strong) {
  const [, index, rest] = text.match(/^(\d+ )(.*)$/s) ?? [null, "", text], whole = ctx.measureText(text).width;
  const start = x - (ctx.textAlign === "right" ? whole : ctx.textAlign === "center" ? whole / 2 : 0), align = ctx.textAlign;
  ctx.textAlign = "left";
  ctx.fillStyle = strong ? look.text : look.muted; ctx.fillText(index, start, y);
  ctx.fillStyle = look.text; ctx.fillText(rest, start + ctx.measureText(index).width, y);
  ctx.textAlign = align;
}

function fit(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  const letters = [...text];
  while (letters.length > 2 && ctx.measureText(`${letters.join("")}\u2026`).width > width) letters.pop();
  return `${letters.join("")}\u2026`;
}

/* An outline that shows on every colour: the line, and the ground on both sides of it. */
function frame(ctx, left, top, cell, thin, [, row, column], look, color, width, across = 1, down = 1) {
  const x = left + column * cell - thin / 2, y = top + row * cell - thin / 2;
  for (const [style, line] of [[look.ground, width + 3], [color, width]]) {
    ctx.strokeStyle = style; ctx.lineWidth = line; ctx.strokeRect(x, y, across * cell, down * cell);
  }
}

/* ---- the walk: row after row, with a line of words for each ---- */

class Walk {
  constructor(root, redraw) {
    Object.assign(this, { redraw, row: null, place: 0, playing: false, lines: [] });
    this.bar = make("div", root, { class: "walk", role: "group", "aria-label": "walk through the rows" });
    const button = (text, act) => {
      const element = make("button", this.bar, { type: "button", text });
      element.addEventListener("click", act);
      return element;
    };
    this.back = button("Back", () => this.step(-1));
    this.play = button("Play", () => this.playing ? this.pause() : this.start());
    this.next = button("Next", () => this.step(1));
    this.all = button("All rows", () => this.show(null));
    this.words = make("p", root, { class: "line", "aria-live": "polite" });
    this.bar.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (event.key === "Escape") this.show(null);
      else if (step) this.step(step);
      else return;
      event.preventDefault();
    });
  }

  update(lines) {
    if (this.row !== null && this.row >= lines.length) this.row = null;
    this.lines = lines;
    this.bar.hidden = this.words.hidden = !lines.length;
    if (!lines.length) this.stop();
    this.label();
  }

  start() {
    this.playing = true;
    this.show(this.row === null || this.row === this.lines.length - 1 ? 0 : this.row + 1);
  }
  pause() { this.playing = false; clearTimeout(this.timer); this.label(); }
  stop() { this.playing = false; clearTimeout(this.timer); cancelAnimationFrame(this.frame); }
  step(by) { this.pause(); this.show(between(this.row === null ? 0 : this.row + by, 0, this.lines.length - 1)); }

  /* Go to a row, or to none: gliding, unless the visitor has asked for less motion. */
  show(row) {
    clearTimeout(this.timer);
    const from = this.row === null ? row : this.place;
    this.row = row;
    if (row === null || row === this.lines.length - 1) this.playing = false;
    if (this.playing) this.timer = setTimeout(() => this.show(row + 1), PAUSE);
    this.label();
    cancelAnimationFrame(this.frame);
    const still = row === null || from === row || matchMedia("(prefers-reduced-motion: reduce)").matches;
    const start = performance.now(), glide = (now) => {
      const share = still ? 1 : between((now - start) / GLIDE, 0, 1), eased = share * share * (3 - 2 * share);
      this.place = from + (row - from) * eased;
      this.redraw();
      if (share < 1) this.frame = requestAnimationFrame(glide);
    };
    glide(start);
  }

  label() {
    const last = this.lines.length - 1;
    this.play.textContent = this.playing ? "Stop" : "Play";
    this.back.disabled = this.row === null || this.row === 0;
    this.next.disabled = this.row === last;
    this.all.disabled = this.row === null;
    this.words.classList.toggle("idle", this.row === null);
    const words = this.row === null ? "Play, or step with Next, to read the rows one after the other." : this.lines[this.row];
    if (this.words.textContent !== words) this.words.textContent = words;
  }
}

/* ---- thumbnails: one radio button per head ---- */

class Thumbnails extends View {
  constructor(root) {
    super(root, "thumbnails");
    this.group = make("div", root, { role: "radiogroup", "aria-label": "attention heads" });
    this.legend = make("div", root, { class: "legend" });
    this.caption = make("p", root, { class: "caption" });
    saveButtons(root, this);
    this.lines = [];
    this.group.addEventListener("click", (event) => {
      const place = this.placeOf(event.target.closest("button"));
      if (place && !same(place, this.chosen)) { this.take(place); this.paint(); }
    });
    this.group.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      const from = this.placeOf(event.target.closest("button"));
      if (!move || !from) return;
      event.preventDefault();
      const line = this.lines[between(from[0] + move[0], 0, this.lines.length - 1)];
      line.heads[between(from[1] + move[1], 0, line.heads.length - 1)].button.focus();
    });
  }

  placeOf(button) { return button && [Number(button.dataset.layer), Number(button.dataset.head)]; }

  build() {
    const { layers, caption } = this.data;
    if (same(layers.map((layer) => layer.length), this.shape) === false) {
      this.shape = layers.map((layer) => layer.length);
      this.group.replaceChildren();
      this.lines = layers.map((layer, at) => {
        const line = make("div", this.group, { class: "layer" });
        make("span", line, { class: "name", text: `layer ${at}` });
        return { heads: layer.map((_, head) => {
          const button = make("button", line, { type: "button", role: "radio", "data-layer": at, "data-head": head });
          const canvas = make("canvas", button, { "aria-hidden": "true" });
          make("span", button, { text: `head ${head}` });
          return { button, canvas };
        }) };
      });
    }
    this.caption.textContent = caption; this.caption.hidden = !caption;
  }

  title() { return "attention heads"; }
  tables() { return []; }

  paint() {
    const { layers } = this.data, { look } = this, dpr = density();
    const narrow = this.width < 560, most = Math.max(...layers.map((layer) => layer.length));
    const side = between((this.width - (narrow ? 0 : 75)) / (narrow ? Math.min(most, 4) : most) - 22, 44, 112);
    this.root.classList.toggle("narrow", narrow);
    layers.forEach((layer, at) => layer.forEach((picture, head) => {
      const { button, canvas } = this.lines[at].heads[head], { steps } = picture, colors = look.ramps[picture.kind];
      const count = Math.max(steps.length, steps[0].length), cell = Math.max(1, Math.floor(side * dpr / count)) / dpr;
      drawOn(canvas, cell * steps[0].length, cell * steps.length, (pen) => {
        const pattern = hatch(pen, look.masked, look.hatch);
        steps.forEach((row, y) => row.forEach((shade, x) => {
          pen.fillStyle = shade < 0 ? pattern : colors[shade].color;
          pen.fillRect(x * cell, y * cell, cell, cell);
        }));
      });
      const checked = same([at, head], this.chosen);
      button.setAttribute("aria-label", picture.title);
      button.setAttribute("aria-checked", String(checked));
      button.tabIndex = checked || (!this.chosen && at + head === 0) ? 0 : -1;
    }));
    const { kind, low = 0, high = 1 } = layers[0][0];           // weights
    this.fillLegend(this.legend, { kind, low, high }, layers.flat().some(({ steps }) => steps.flat().includes(-1)));
  }
}
