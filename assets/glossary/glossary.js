/* Words that explain themselves: a click opens one where it stands, another click or Escape closes it. Asks no server.

   Streamlit calls the default export again on every change of data; what is open stays open. Any text is safe: textContent only. */

export default function glossary({ data, parentElement }) {
  const root = parentElement.querySelector(".root"), drawn = JSON.stringify(data.terms);
  if (root.dataset.drawn === drawn) return;
  root.dataset.drawn = drawn;
  const opened = root.querySelector("[aria-expanded=true]")?.textContent;
  const buttons = Object.entries(data.terms).map(([term, meaning]) => {
    const button = make("button", null, { type: "button", "aria-expanded": "false", text: term });
    button.addEventListener("click", () => { toggle(term, button.getAttribute("aria-expanded") === "false"); });
    button.addEventListener("keydown", (event) => { if (event.key === "Escape") toggle(term, false); });
    return { term, meaning, button };
  });
  root.replaceChildren(...buttons.map(({ button }) => button));
  toggle(opened, true);

  function toggle(chosen, open) {
    root.querySelector("p")?.remove();
    for (const { term, meaning, button } of buttons) {
      const shows = open && term === chosen;
      button.setAttribute("aria-expanded", String(shows));
      if (shows) button.after(make("p", null, { text: meaning }));
    }
  }
}
