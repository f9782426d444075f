"""Everybody can use every page: with a screen reader, in light and dark, on a phone; and a link carries settings."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from decoder.training.presets import preset

# Streamlit's own navigation puts headings between the items of its list, and there is no way to change that.
ALLOWED = {"list", "listitem"}
NAVIGATION = '[data-testid="stSidebarNav'


@pytest.fixture(scope="module", autouse=True)
def _the_default_decoders_are_trained(trainings):
    for mode in ("teacher_forcing", "free_running"):
        trainings.finished(preset("ibm", mode=mode))


def violations(page):
    found = Axe().run(page.page).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['html'][:300]} — {node['failureSummary'][:300]}"
        for rule in found
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
        if not (rule["id"] in ALLOWED and is_navigation(page, node["target"]))
    ]


def is_navigation(page, target):
    return len(target) == 1 and page.page.locator(target[0]).evaluate_all(
        """(elements, navigation) => elements.length > 0
            && elements.every(element => element.closest(navigation + '"]') || element.closest(navigation + 'Items"]'))""",
        NAVIGATION,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, path, scheme):
    page = visit(path, scheme=scheme).trained()
    expect(page.page.locator('[data-stale="true"]')).to_have_count(0)
    # Buttons change their colours within a moment: what is wrong for longer is wrong.
    found = violations(page) and violations(page.idle())
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_form_of_a_fork(visit, scheme):
    page = visit("training", scheme=scheme).trained()
    page.page.get_by_role("button", name="Change from here on").first.click()
    expect(page.page.locator('[data-testid="stForm"]').first).to_be_visible()
    found = violations(page)
    assert not found, "\n".join(found)


# What reaches beyond the screen without a way to scroll to it, drawn words that their picture cuts off, and what its own
# frame cuts off, unless it is told as a whole to who points at it.
CUT_OFF = """
() => {
  const width = document.documentElement.clientWidth, found = [];
  const scrolls = element => {
    for (let at = element; at; at = at.parentElement ?? at.getRootNode().host)
      if (at.matches('[data-testid="stMain"]')) return false;
      else if (["auto", "scroll"].includes(getComputedStyle(at).overflowX)) return true;
    return false;
  };
  const unseen = element => {                     // made for screen readers only: its frame is a pixel or less
    for (let at = element; at; at = at.parentElement ?? at.getRootNode().host)
      if (getComputedStyle(at).overflowX === "hidden" && at.clientWidth <= 1) return true;
    return false;
  };
  const look = root => root.querySelectorAll("*").forEach(element => {
    if (element.shadowRoot) look(element.shadowRoot);
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (!box.width || !box.height || style.visibility === "hidden" || style.opacity === "0") return;
    const name = `${element.tagName}.${element.getAttribute("class")} ${(element.textContent ?? "").trim().slice(0, 60)}`;
    const picture = element.tagName === "text" && element.ownerSVGElement.getBoundingClientRect();
    if (picture ? box.right > picture.right + 1.5 || box.left < picture.left - 1.5
                : (box.right > width + 1 || box.left < -1) && !element.ownerSVGElement && !scrolls(element) && !unseen(element))
      found.push(`${name}: ${Math.round(box.left)} to ${Math.round(box.right)}`);
    const cuts = ["hidden", "clip"].includes(style.overflowX) && element.clientWidth > 1 && !element.title;
    if (cuts && element.scrollWidth > element.clientWidth + 1)
      found.push(`${name}: ${element.scrollWidth} wide in ${element.clientWidth}`);
  });
  const main = document.querySelector('[data-testid="stMain"]');
  look(main);
  if (main.scrollWidth > main.clientWidth) found.push(`the page is ${main.scrollWidth} wide`);
  if (document.documentElement.scrollWidth > width) found.push(`the document is ${document.documentElement.scrollWidth} wide`);
  return found;
}
"""


def test_on_a_phone_nothing_is_cut_off(visit, path):
    page = visit(path, width=390, height=844).trained()
    expect(page.page.locator('[data-stale="true"]')).to_have_count(0)
    found = page.page.evaluate(CUT_OFF)
    assert not found, "\n".join(found)


def test_a_link_carries_settings_and_they_survive_switching_pages(visit):
    page = visit("causal_mask", corpus="story", seed=3, size="small").trained()

    def is_set():
        expect(page.key("corpus").locator("input")).to_have_value("story")
        expect(page.key("seed").locator("input")).to_have_value("3")
        expect(page.key("size").locator("input")).to_have_value("small")
        expect(page.key("strip")).to_contain_text("story")
        expect(page.key("strip")).to_contain_text("seed 3")
        for setting in ("corpus=story", "seed=3", "size=small"):
            assert setting in page.address

    is_set()
    for title in ("Generation", "Attention", "Start"):
        page.go_to(title).trained()
        is_set()


def test_a_link_with_impossible_settings_opens_the_defaults(visit):
    page = visit(corpus="no-such", seed=-1, size="<b>", mode="none").trained()
    expect(page.key("corpus").locator("input")).to_have_value("ibm")
    expect(page.key("seed").locator("input")).to_have_value("0")
    expect(page.refusal).to_have_count(0)
