/* "picture as SVG, PNG, HTML": what a canvas component shows, with its words and legend, as a file. Python puts pen.js and this in
   front of the component's own script. Everything is drawn again here, from the places that the browser gave it.

   The view has `data.file`, its `title()`, its numbers as `tables()`, and draws a sign of its legend in `sign(...)`. */

const SHARP = 2, MARGIN = 16;                                   // pixels of a PNG per CSS pixel at least; ground around the picture
const UNSEEN = ".save, .walk, .idle, .tip, .unseen, details, [hidden]";
const FILES = {
  SVG: (root, view) => new Blob([new XMLSerializer().serializeToString(drawing(root, view))], { type: "image/svg+xml" }),
  PNG: (root, view) => new Promise((done) => bitmap(root, view).toBlob(done)),
  HTML: (root, view) => new Blob([page(root, view)], { type: "text/html" }),
};

/* A row of buttons that save what stands under `root`. */
function saveButtons(root, view) {
  const row = make("div", root, { class: "save", role: "group", "aria-label": "save the picture" });
  make("span", row, { "aria-hidden": "true", text: "picture as" });
  Object.entries(FILES).forEach(([form, draw], at) => {
    if (at) make("span", row, { "aria-hidden": "true", text: "\u00b7" });
    const button = make("button", row, { type: "button", "aria-label": `picture as ${form}`, text: form });
    button.addEventListener("click", async () => {
      const href = URL.createObjectURL(await draw(root, view));
      Object.assign(document.createElement("a"), { href, download: `${view.data.file}.${form.toLowerCase()}` }).click();
      setTimeout(() => URL.revokeObjectURL(href), 10_000);
    });
  });
}

function drawing(root, view) {
  const { svg } = compose(root, view, (width, height) => new Recorder(width, height, view.data.file)), title = document.createElementNS(SVG, "title");
  title.textContent = writable(view.title());
  svg.prepend(title);
  return svg;
}

function bitmap(root, view) {
  return compose(root, view, (width, height) => {
    const picture = document.createElement("canvas"), pen = picture.getContext("2d"), scale = fineness();
    picture.width = Math.ceil(width * scale); picture.height = Math.ceil(height * scale);
    pen.scale(scale, scale);
    return pen;
  }).canvas;
}

/* The SVG with its title and numbers: one file that asks nobody for anything. PAGE is assets/picture/page.html. */
function page(root, view) {
  const file = new DOMParser().parseFromString(PAGE, "text/html"), main = file.querySelector("main"), style = getComputedStyle(root);
  for (const [name, value] of Object.entries({ ground: ground(root), text: style.color, font: style.fontFamily,
                                               muted: style.getPropertyValue("--muted"), border: style.getPropertyValue("--st-border-color") })) {
    file.documentElement.style.setProperty(`--${name}`, value);
  }
  file.title = main.firstElementChild.textContent = view.title();
  main.append(drawing(root, view));
  for (const table of view.tables()) {
    make("div", main, { class: "numbers", tabindex: 0, role: "region", "aria-label": table.caption.textContent }).append(table);
  }
  return `<!DOCTYPE html>\n${file.documentElement.outerHTML}\n`;
}

const ground = (root) => getComputedStyle(root).getPropertyValue("--st-background-color").trim() || "#ffffff";
/* Pixels of a PNG per CSS pixel: whole cells of the screen become whole cells of the file. */
const fineness = () => density() * Math.ceil(SHARP / density());

/* Draw everything that is to be seen with the pen that `begin` makes for this width and height. */
function compose(root, view, begin) {
  const scroller = root.querySelector(".rows"), scrolled = scroller?.scrollTop;
  root.classList.add("saving");                                 // a long table is saved whole
  const found = [...pieces(root, view)].sort((one, other) => one.above - other.above);
  const left = Math.floor(Math.min(...found.map(({ box }) => box.left))) - MARGIN, top = Math.floor(Math.min(...found.map(({ box }) => box.top))) - MARGIN;
  const right = Math.ceil(Math.max(...found.map(({ box }) => box.right))) + MARGIN, bottom = Math.ceil(Math.max(...found.map(({ box }) => box.bottom))) + MARGIN;
  const pen = begin(right - left, bottom - top);
  pen.fillStyle = ground(root); pen.fillRect(0, 0, right - left, bottom - top);
  pen.translate(-left, -top);
  for (const { box, draw } of found) { pen.save(); draw(pen, box); pen.restore(); }
  root.classList.remove("saving");
  if (scroller) scroller.scrollTop = scrolled;
  return pen;
}

/* Everything that is to be seen: where it is, how to draw it there, and whether above the rest. */
function* pieces(root, view) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT), range = document.createRange();
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
    if (element.closest(UNSEEN)) continue;
    const style = getComputedStyle(element);
    if (element !== node) {
      for (const { text, box } of lines(node, range)) yield { above: 0, box, draw: (pen) => {
        pen.font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
        pen.fillStyle = style.color; pen.textBaseline = "middle";
        pen.fillText(text, box.left, box.top + box.height / 2 + 1);
      } };
      continue;
    }
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    if (element.matches(".swatch")) {
      yield { above: 0, box, draw: (pen) => view.sign(pen, element, box) };
      continue;
    }
    yield* frames(style, box);
    if (element.matches("canvas")) yield { above: 0, box, draw: (pen) => {
      const whole = (place) => Math.round(place * fineness()) / fineness();
      pen.translate(whole(box.left + element.clientLeft), whole(box.top + element.clientTop));
      DRAWINGS.get(element)?.(pen);
    } };
    else if (element.matches(".ramp")) yield { above: 0, box, draw: (pen) => {
      const colors = style.backgroundImage.match(/rgba?\([^)]*\)/g), across = pen.createLinearGradient(box.left, 0, box.right, 0);
      colors.forEach((color, at) => across.addColorStop(at / (colors.length - 1), color));
      pen.fillStyle = across; pen.fillRect(box.left, box.top, box.width, box.height);
    } };
  }
}

/* The lines into which the browser has broken a text: word by word, as long as the next one stands on the same line. */
function* lines(node, range) {
  let line;
  for (const { 0: word, index } of node.data.matchAll(/\S+/g)) {
    range.setStart(node, index); range.setEnd(node, index + word.length);
    const { left, right, top, bottom, height } = range.getBoundingClientRect();
    if (line && Math.abs(top - line.box.top) < 1 && left >= line.box.right) {
      line.text += ` ${word}`; line.box.right = right;
    } else {
      if (line) yield line;
      line = { text: word, box: { left, right, top, bottom, height } };
    }
  }
  if (line) yield line;
}

/* The ground, the borders and the outline of an element. */
function* frames(style, box) {
  const { left, top, width, height, right, bottom } = box, seen = (color) => !/^(transparent|rgba\(.*, 0\))$/.test(color);
  if (seen(style.backgroundColor)) yield { above: 0, box, draw: (pen) => {
    pen.fillStyle = style.backgroundColor; pen.fillRect(left, top, width, height);
  } };
  for (const [side, place] of Object.entries({ Left: (line) => [left, top, line, height], Right: (line) => [right - line, top, line, height],
                                               Top: (line) => [left, top, width, line], Bottom: (line) => [left, bottom - line, width, line] })) {
    const line = parseFloat(style[`border${side}Width`]), color = style[`border${side}Color`];
    if (line && seen(color)) yield { above: 0, box, draw: (pen) => { pen.fillStyle = color; pen.fillRect(...place(line)); } };
  }
  const line = parseFloat(style.outlineWidth);
  if (style.outlineStyle === "solid" && line) yield { above: 1, box, draw: (pen) => {
    const out = parseFloat(style.outlineOffset) + line / 2;
    pen.strokeStyle = style.outlineColor; pen.lineWidth = line;
    pen.strokeRect(left - out, top - out, width + 2 * out, height + 2 * out);
  } };
}

