/* Pointing at a token in one picture marks it in all: the pictures tell each other on the document which cell of the page's
   batch is pointed at, [row, time], both from 0; null: none. */
const POINTED = "decoder-pointed";
function pointAt(place) { document.dispatchEvent(new CustomEvent(POINTED, { detail: place })); }
/* Call `mark` with the place whenever it changes; return what ends that. */
function whenPointed(mark) {
  const listener = ({ detail }) => mark(detail);
  document.addEventListener(POINTED, listener);
  return () => document.removeEventListener(POINTED, listener);
}
const isPlace = (place, row, time) => place?.[0] === row && place[1] === time;
