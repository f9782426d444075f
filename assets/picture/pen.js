/* Pens. A component draws with the few methods and properties that CanvasRenderingContext2D and Recorder share: so the same
   lines of code draw on the screen, into a PNG, and as shapes and text into an SVG. */

/* The name of SVG's elements looks like an address. Asked of the browser it needs no place here, where no address may stand. */
const SVG = new DOMParser().parseFromString("<svg></svg>", "text/html").body.firstChild.namespaceURI;
const RULER = new OffscreenCanvas(1, 1).getContext("2d");
const DRAWINGS = new WeakMap();                                 // canvas -> what was drawn on it last, to be drawn elsewhere

/* A text without what XML cannot hold. */
const writable = (text) => text.replace(/[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, "\uFFFD");

/* Canvas pixels per CSS pixel. */
const density = () => window.devicePixelRatio || 1;

/* Draw on a canvas of this size in CSS pixels whose own pixels are those of the screen. */
function drawOn(canvas, width, height, draw) {
  const dpr = density(), pen = canvas.getContext("2d");
  canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * dpr); canvas.height = Math.round(height * dpr);   // this also clears it
  pen.scale(dpr, dpr);
  draw(pen);
  DRAWINGS.set(canvas, draw);
}

/* A square that is repeated in both directions, as a fillStyle. */
function tile(pen, side, draw) {
  if (pen instanceof Recorder) return pen.tile(side, draw);
  const scale = pen.getTransform().a, pixels = Math.max(1, Math.round(side * scale));
  const square = new OffscreenCanvas(pixels, pixels), inner = square.getContext("2d");
  inner.scale(pixels / side, pixels / side);
  draw(inner);
  const pattern = pen.createPattern(square, "repeat");
  pattern.setTransform(new DOMMatrix().scale(1 / scale));
  return pattern;
}

/* Diagonal lines that run on from cell to cell: one closed area, never a value. */
function hatch(pen, ground, line) {
  const side = 6;
  return tile(pen, side, (inner) => {
    inner.fillStyle = ground; inner.fillRect(0, 0, side, side);
    inner.strokeStyle = line; inner.lineWidth = 1;
    inner.beginPath();
    for (const shift of [-side, 0, side]) { inner.moveTo(shift - 1, side + 1); inner.lineTo(shift + side + 1, -1); }
    inner.stroke();
  });
}

/* A pen whose drawing is an SVG. Texts become text nodes and settings become attributes, never markup. */
class Recorder {
  static KEPT = ["fillStyle", "strokeStyle", "lineWidth", "lineCap", "font", "textAlign", "textBaseline", "globalAlpha", "matrix", "clipped"];
  static ANCHORS = { center: "middle", right: "end" };

  /* `name` begins the names of patterns and the like, so that two pictures can stand in one page. */
  constructor(width, height, name) {
    Object.assign(this, { name, count: 0, kept: [], path: [], fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, lineCap: "butt",
                          font: "10px sans-serif", textAlign: "left", textBaseline: "alphabetic", globalAlpha: 1,
                          matrix: new DOMMatrix(), clipped: null });
    this.svg = this.add("svg", null, { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "shape-rendering": "crispEdges" });
    this.defs = this.add("defs", this.svg);
  }

  add(tag, parent, settings = {}) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(settings)) {
      if (value === undefined) continue;
      element.setAttribute(name, typeof value === "number" ? Number(value.toFixed(2)) : value);
    }
    parent?.append(element);
    return element;
  }

  /* What patterns, gradients and clips are referred to by. */
  refer(tag, settings) {
    const id = `${this.name}-${++this.count}`, element = this.add(tag, this.defs, { id, ...settings });
    return { element, toString: () => `url(#${id})` };
  }

  /* Where the next shape belongs: shapes under one transformation and one clip stand together. */
  get place() {
    const transform = this.matrix.isIdentity ? undefined : String(this.matrix), state = `${transform} ${this.clipped}`;
    if (state !== this.state) {
      const outer = this.clipped ? this.add("g", this.svg, { "clip-path": String(this.clipped) }) : this.svg;
      this.group = this.add("g", outer, { transform });
      this.state = state;
    }
    return this.group;
  }
  get opacity() { return this.globalAlpha === 1 ? undefined : this.globalAlpha; }

  save() { this.kept.push(Object.fromEntries(Recorder.KEPT.map((name) => [name, this[name]]))); }
  restore() { Object.assign(this, this.kept.pop()); }
  translate(x, y) { this.matrix = this.matrix.translate(x, y); }
  scale(x, y) { this.matrix = this.matrix.scale(x, y); }
  rotate(angle) { this.matrix = this.matrix.rotate(angle * 180 / Math.PI); }

  fillRect(x, y, width, height) {
    if (width <= 0 || height <= 0) return;
    this.add("rect", this.place, { x, y, width, height, fill: String(this.fillStyle), opacity: this.opacity });
  }
  strokeRect(x, y, width, height) {
    this.add("rect", this.place, { x, y, width, height, fill: "none", ...this.line });
  }
  get line() {
    return { stroke: String(this.strokeStyle), "stroke-width": this.lineWidth, opacity: this.opacity,
             "stroke-linecap": this.lineCap === "butt" ? undefined : this.lineCap, "shape-rendering": "auto" };
  }

  beginPath() { this.path = []; }
  moveTo(x, y) { this.step("M", x, y); }
  lineTo(x, y) { this.step("L", x, y); }
  closePath() { this.step("Z"); }
  rect(x, y, width, height) { this.step("M", x, y); this.step("h", width); this.step("v", height); this.step("h", -width); this.step("Z"); }
  step(letter, ...numbers) { this.path.push(letter + numbers.map((number) => Number(number.toFixed(2))).join(" ")); }
  fill() { this.add("path", this.place, { d: this.path.join(""), fill: String(this.fillStyle), opacity: this.opacity, "shape-rendering": "auto" }); }
  stroke() { this.add("path", this.place, { d: this.path.join(""), fill: "none", ...this.line }); }
  clip() {
    this.clipped = this.refer("clipPath", {});
    this.add("path", this.clipped.element, { d: this.path.join(""), transform: this.matrix.isIdentity ? undefined : String(this.matrix) });
  }

  createLinearGradient(x1, y1, x2, y2) {
    const gradient = this.refer("linearGradient", { gradientUnits: "userSpaceOnUse", x1, y1, x2, y2 });
    gradient.addColorStop = (offset, color) => this.add("stop", gradient.element, { offset, "stop-color": color });
    return gradient;
  }
  tile(side, draw) {
    const inner = new Recorder(side, side), shape = { patternUnits: "userSpaceOnUse", width: side, height: side };
    draw(inner);
    inner.defs.remove();
    this.tiles ??= new Map();
    const drawn = inner.svg.innerHTML;
    if (!this.tiles.has(drawn)) {
      const pattern = this.refer("pattern", shape);
      pattern.element.append(...inner.svg.childNodes);
      this.tiles.set(drawn, pattern);
    }
    return this.tiles.get(drawn);
  }

  measureText(text) {
    RULER.font = this.font; RULER.textBaseline = this.textBaseline;
    return RULER.measureText(text);
  }
  /* Readers of SVG know only the line that letters stand on; the width is kept where another font must be taken. */
  fillText(text, x, y) {
    const { width, actualBoundingBoxAscent: above } = this.measureText(text);
    const [, slant, weight, size, family] = RULER.font.match(/^(italic |oblique )?(\w+ )?([\d.]+)px (.*)$/s);   // in one way of writing
    RULER.textBaseline = "alphabetic";
    const foot = y + RULER.measureText(text).actualBoundingBoxAscent - above;
    if (!this.svg.hasAttribute("font-family")) this.svg.setAttribute("font-family", family);
    this.add("text", this.place, {
      x, y: foot, fill: String(this.fillStyle), opacity: this.opacity, "text-anchor": Recorder.ANCHORS[this.textAlign],
      "font-size": Number(size), "font-weight": weight?.trim(), "font-style": slant?.trim(), textLength: width || undefined,
      "font-family": family === this.svg.getAttribute("font-family") ? undefined : family,
    }).textContent = writable(text);
  }
}

