/* Says a text to whoever listens to the page instead of seeing it: a live region that is there before its words are. */

const SAID = new WeakMap();
const PAUSE = 100, HEARD = 10_000;                              // milliseconds before the words come, and until they go

export default function announcement({ data, parentElement }) {
  const region = parentElement.querySelector(".root"), last = SAID.get(parentElement) ?? { turn: data.turn };
  SAID.set(parentElement, last);
  if (data.turn === last.turn) return;                          // nothing new, or words from before this page was opened
  clearTimeout(last.timer);
  region.textContent = "";                                      // the same words again are news too
  last.turn = data.turn;
  last.timer = setTimeout(() => {
    region.textContent = data.text;
    last.timer = setTimeout(() => { region.textContent = ""; }, HEARD);
  }, PAUSE);
}
