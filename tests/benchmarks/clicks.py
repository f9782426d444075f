"""How soon every page answers a click while two trainings run: each line is a page, what was asked, what was measured.

Run with: .venv/bin/python tests/benchmarks/clicks.py [--clicks N] [page ...]

A real server with a fresh store and its own workers, and a real Chromium. The time of a click goes from the event in the
browser until the server's script has run and nothing on the page changes any more; the decoder that the page shows has been
trained before, so that nothing changes by itself. On a machine that does other work too, figures are upper bounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Page, sync_playwright

sys.path.append(str(Path(__file__).parents[1] / "browser"))
sys.path.append(str(Path(__file__).parents[1]))

from conftest import FLAGS, IDLE, PATIENCE, Server, until  # the server and browser of the tests

from decoder.config import MAX_STEPS
from decoder.runs import open_store
from decoder.training.presets import preset

ASKED = 300.0  # milliseconds, median
WARM_UP = 2  # clicks that are not counted
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")

# Notes in the browser itself when an event came, when the script ended, and when something last changed after it.
OBSERVE = """
() => {
  const app = document.querySelector('[data-testid="stApp"]'), main = document.querySelector('[data-testid="stMain"]');
  const WATCHED = ["width", "d", "aria-label"];                 // what canvases, curves and pictures change
  const noted = window.noted = { began: 0, ran: false, ended: 0, changed: 0 };
  const changes = new MutationObserver(() => { noted.changed = performance.now(); });
  const observe = root => {
    changes.observe(root, { subtree: true, childList: true, characterData: true, attributeFilter: WATCHED });
    root.querySelectorAll("*").forEach(element => element.shadowRoot && observe(element.shadowRoot));
  };
  observe(main);
  new MutationObserver(() => {
    if (app.dataset.testScriptState === "running") noted.ran = true;
    else if (noted.ran) noted.ended = performance.now();
  }).observe(app, { attributeFilter: ["data-test-script-state"] });
  // A short run may begin and end between two drawings of the page: then its changes alone are seen.
  noted.quiet = () => {
    const last = Math.max(noted.ended, noted.changed), patience = noted.ended ? 300 : 1500;
    return last > noted.began && app.dataset.testScriptState !== "running" && performance.now() - last > patience;
  };
  for (const kind of ["click", "keydown"]) addEventListener(kind, () => {
    Object.assign(noted, { began: performance.now(), ran: false, ended: 0, changed: 0 });
  }, { capture: true, once: true });
}
"""
QUIET = "() => noted.quiet()"
TOOK = "() => Math.max(noted.ended, noted.changed) - noted.began"


class Click(NamedTuple):
    """What stands for a page: its path, what is clicked in words, and how click number n is made."""

    path: str
    what: str
    act: Callable[[Page, int], None]


def press(selector: str) -> Callable[[Page, int], None]:
    """Click one of the elements that the selector finds, another one each time, and none that is chosen already."""

    def act(page: Page, number: int) -> None:
        found = page.locator(f"{selector}:not([aria-pressed=true], [aria-checked=true])")
        found.nth(number % found.count()).click()

    return act


def slide(key: str, *, back: str = "ArrowLeft", forth: str = "ArrowRight") -> Callable[[Page, int], None]:
    """Move a slider by one, to and fro."""

    def act(page: Page, number: int) -> None:
        page.locator(f".st-key-{key} input[type=range]").first.press((back, forth)[number % 2])

    return act


def step(page: Page, number: int) -> None:
    """Go one step of a generation on, and back."""
    page.locator(f".st-key-step-{('next', 'back')[number % 2]} button").click()


def switch(page: Page, number: int) -> None:
    """Switch the mask off, and on again, with the keyboard."""
    del number
    page.locator(".st-key-masked input").first.press("Space")


CLICKS = (
    Click("", "the playhead", slide("after")),
    Click("tokens", "a token", press(".st-key-token_chips th button")),
    Click("embeddings", "a cell of the batch", press(".st-key-ids button[data-time]")),
    Click("causal_mask", "another head", press(".st-key-mask_heads button[data-head]")),
    Click("causal_mask", "the mask on and off", switch),
    Click("attention", "another head", press(".st-key-attention_heads button[data-head]")),
    Click("training", "another sentence", slide("held_out", back="ArrowRight", forth="ArrowLeft")),
    Click("generation", "the next step", step),
)


def main() -> None:
    """Measure and print one line per kind of click; the exit status says whether all are fast enough."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=15, help="of each kind")
    parser.add_argument("pages", nargs="*", help="paths, start for the first one; default: all")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server.start(Path(folder))
        try:
            with busy(server), sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                page = browser.new_page(viewport={"width": 1280, "height": 1600})
                slow = [
                    click
                    for click in CLICKS
                    if not arguments.pages or (click.path or "start") in arguments.pages
                    if measure(page, server, click, arguments.clicks) > ASKED
                ]
                browser.close()
        finally:
            server.stop()
    sys.exit(bool(slow))


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """Have what the pages show trained, then two long trainings that go on all the time."""
    store = open_store(server.store_url)
    shown = [store.request(preset("ibm", mode=mode)) for mode in ("teacher_forcing", "free_running")]
    until(lambda: all(store.run(run_id).state == "finished" for run_id in shown), "what is shown", 300)
    long = [
        store.request(dataclasses.replace(preset("story", size="large", seed=seed), steps=MAX_STEPS))
        for seed in (1, 2)
    ]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(5):
            for run_id in long:
                store.watch(run_id, "benchmark")

    watcher = threading.Thread(target=watch)
    watcher.start()
    until(lambda: all(store.run(run_id).state == "training" for run_id in long), "two trainings")
    try:
        yield
        states = [store.run(run_id) for run_id in long]
        print("meanwhile trained:", ", ".join(f"{run.step} updates, {run.state}" for run in states))
    finally:
        over.set()
        watcher.join()
        store.close()


def measure(page: Page, server: Server, click: Click, count: int) -> float:
    """Print how long clicks of one kind took, and return the median in milliseconds."""
    page.goto(f"{server.url}/{click.path}")
    page.wait_for_selector(IDLE, timeout=PATIENCE * 1000)
    page.locator("h1").first.wait_for()
    page.wait_for_timeout(3_000)
    took = []
    for number in range(WARM_UP + count):
        page.evaluate(OBSERVE)
        click.act(page, number)
        page.wait_for_function(QUIET, timeout=PATIENCE * 1000)
        took.append(page.evaluate(TOOK))
    took = sorted(took[WARM_UP:])
    median = statistics.median(took)
    print(
        f"{click.path or 'start'}, {click.what}, {count} clicks | asked: median <= {ASKED:.0f} ms | measured: {median:.0f} ms "
        f"(fastest {took[0]:.0f}, slowest {took[-1]:.0f}) | {'met' if median <= ASKED else 'MISSED'}",
        flush=True,
    )
    return median


if __name__ == "__main__":
    main()
