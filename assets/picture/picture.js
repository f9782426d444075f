/* "picture as PNG": what a canvas component shows, with its words and legend, as a file. Python puts this in front of the
   component's own script. Everything is drawn again here, finer than most screens, from the places that the browser gave it. */

const SHARP = 2, MARGIN = 16;                                   // pixels of the file per CSS pixel at least; ground around it
const UNSEEN = ".save, .walk, .idle, .tip, .unseen, details, [hidden]";
let least = 1;

/* Canvas pixels per CSS pixel. */
const density = () => Math.max(window.devicePixelRatio || 1, least);

/* A button that saves what stands under `root`. The view draws itself in draw(), a sign of the legend in sign(...). */
function saveButton(root, view) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "save", textContent: "picture as PNG" });
  button.addEventListener("click", () => {
    const scroller = root.querySelector(".rows"), top = scroller?.scrollTop;
    root.classList.add("saving");                               // a long table is saved whole
    least = SHARP; view.draw();
    const picture = compose(root, view);
    least = 1; root.classList.remove("saving"); view.draw();
    if (scroller) scroller.scrollTop = top;
    picture.toBlob((blob) => {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${view.data.file}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
  });
  root.append(button);
}

function compose(root, view) {
  const found = [...pieces(root, view)].sort((one, other) => one.above - other.above), style = getComputedStyle(root), dpr = density();
  const left = Math.min(...found.map(({ box }) => box.left)) - MARGIN, right = Math.max(...found.map(({ box }) => box.right)) + MARGIN;
  const top = Math.min(...found.map(({ box }) => box.top)) - MARGIN, bottom = Math.max(...found.map(({ box }) => box.bottom)) + MARGIN;
  const picture = document.createElement("canvas"), pen = picture.getContext("2d");
  picture.width = Math.ceil((right - left) * dpr); picture.height = Math.ceil((bottom - top) * dpr);
  pen.fillStyle = style.getPropertyValue("--st-background-color").trim() || "#ffffff";
  pen.fillRect(0, 0, picture.width, picture.height);
  pen.scale(dpr, dpr); pen.translate(-left, -top);
  for (const { box, draw } of found) { pen.save(); draw(pen, box); pen.restore(); }
  return picture;
}

/* Everything that is to be seen: where it is, how to draw it there, and whether above the rest. */
function* pieces(root, view) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT), range = document.createRange();
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
    if (element.closest(UNSEEN)) continue;
    const style = getComputedStyle(element);
    if (element !== node) {
      for (const { 0: word, index } of node.data.matchAll(/\S+/g)) {       // a word is never broken over two lines
        range.setStart(node, index); range.setEnd(node, index + word.length);
        yield { above: 0, box: range.getBoundingClientRect(), draw: (pen, box) => {
          pen.font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
          pen.fillStyle = style.color; pen.textBaseline = "middle";
          pen.fillText(word, box.left, box.top + box.height / 2 + 1);
        } };
      }
      continue;
    }
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    if (element.matches("canvas")) yield { above: 0, box, draw: (pen) => pen.drawImage(element, box.left, box.top, box.width, box.height) };
    else if (element.matches(".ramp")) yield { above: 0, box, draw: (pen) => {
      const colors = style.backgroundImage.match(/rgba?\([^)]*\)/g), across = pen.createLinearGradient(box.left, 0, box.right, 0);
      colors.forEach((color, at) => across.addColorStop(at / (colors.length - 1), color));
      pen.fillStyle = across; pen.fillRect(box.left, box.top, box.width, box.height);
    } };
    else if (element.matches(".swatch")) yield { above: 0, box, draw: (pen) => view.sign(pen, element, box) };
    else if (element.matches(".chosen, [aria-checked=true]")) yield { above: 1, box, draw: (pen) => {
      pen.strokeStyle = style.getPropertyValue("--st-primary-color"); pen.lineWidth = 2;
      pen.strokeRect(box.left, box.top, box.width, box.height);
    } };
  }
}

