"""The page of generation: every token, probability and refusal is what the library gives for the same prompt and seed."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from decoder import Sampling, generate, load_corpus
from decoder.training.presets import preset

CONFIG = preset("ibm")
CORPUS = load_corpus("ibm")
TOKENS = CORPUS.tokenizer.tokens
SCRIPT = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
PICTURE = "![x](http://example.invalid/x.png) [y](javascript:window.hacked=1)"
HOSTILE = (SCRIPT, PICTURE, "a\u202eb", "IBM 🦊 :material/home: $x$")


@pytest.fixture(scope="module")
def model(trainings):
    return trainings.model(CONFIG)


def percent(share):
    return f"{100 * share:.0f} %" if share in {0, 1} or 0.1 <= share <= 0.99 else f"{100 * share:.1f} %"


def shown(page):
    return page.strips("generated").get("text", [])


def expected(step):
    """The chips of a step: typed, picked, and the token being picked with its probability."""
    chips = [
        (TOKENS[token], "special" if token == CORPUS.tokenizer.bos else "true" if forced else "own")
        for token, forced in zip(step.tokens, step.forced, strict=True)
    ]
    return [*chips, (TOKENS[step.picked], "fresh")]


def wait_for(page, step):
    page.until(lambda: [(text, kind) for text, _, kind in shown(page)] == expected(step), f"{expected(step)}")
    assert shown(page)[-1][1] == percent(step.model_probabilities[step.picked].item())


def wait_for_candidates(page, step):
    """The bars name the most likely tokens, each with the probability that it is drawn with."""
    best = step.model_probabilities.argsort(descending=True).tolist()[:5]
    svg = page.main.locator('[data-testid="stVegaLiteChart"] svg').first

    def are_named():
        texts = [text.strip() for text in svg.locator("text").all_text_contents()]
        numbers = [text.split(",")[0].split("  ")[0] for text in texts]
        return all(
            TOKENS[token] in texts and percent(step.probabilities[token].item()) in numbers
            for token in best
            if step.model_probabilities[token] > 1e-3  # below, the order hangs on the last bits
        )

    page.until(are_named, "the candidates")


def test_a_prompt_is_continued_token_by_token_as_generate_does(visit, model):
    page = visit("generation", picks=5).trained()
    page.type("prompt", "IBM taught")
    steps = list(generate(model, CORPUS.tokenizer, "IBM taught", Sampling(seed=5), 64))
    assert len(steps) >= 3
    wait_for(page, steps[0])
    wait_for_candidates(page, steps[0])
    query = parse_qs(urlsplit(page.address).query)
    assert (query["prompt"], query["picks"]) == (["IBM taught"], ["5"])

    page.key("step next").locator("button").click()
    wait_for(page, steps[1])
    wait_for_candidates(page, steps[1])
    page.key("step next").locator("button").click()
    wait_for(page, steps[2])
    page.key("step back").locator("button").click()
    wait_for(page, steps[1])
    slider = page.key("step").locator('input[type="range"]').first
    slider.focus()
    slider.press("End")
    wait_for(page, steps[-1])
    expect(page.key("step next").locator("button")).to_be_disabled()
    slider.press("Home")
    wait_for(page, steps[0])
    expect(page.key("step back").locator("button")).to_be_disabled()


def test_play_walks_to_the_end_and_stops_there(visit, model):
    page = visit("generation", greedy="true", prompt="NASA").trained()
    steps = list(generate(model, CORPUS.tokenizer, "NASA", Sampling(greedy=True), 64))
    wait_for(page, steps[0])
    lengths = set()
    page.key("candidates numbers").locator("summary").click()
    rows = page.key("candidates sheet").locator("tbody tr")
    expect(rows.first).to_be_visible()
    page.key("step play").locator("button").click()

    def has_ended():
        lengths.add(len(shown(page)))
        return len(shown(page)) == len(expected(steps[-1]))

    page.until(has_ended, "the last step")
    assert len(lengths) >= 3  # it did not jump
    wait_for(page, steps[-1])
    expect(page.key("step play").locator("button")).to_have_text("Play")
    shares = steps[-1].model_probabilities  # the open table has walked along
    expect(rows.first).to_contain_text(TOKENS[shares.argmax()])
    expect(rows.first).to_contain_text(f"{shares.max():.4g}")


def test_temperature_and_greedy_of_a_link_shape_the_picks(visit, model):
    page = visit("generation", prompt="Darwin showed", temperature=2.0, picks=7).trained()
    steps = list(generate(model, CORPUS.tokenizer, "Darwin showed", Sampling(temperature=2.0, seed=7), 64))
    wait_for(page, steps[0])
    wait_for_candidates(page, steps[0])


def test_an_empty_prompt_begins_at_the_start_token(visit, model):
    page = visit("generation").trained()
    page.type("prompt", "")
    steps = list(generate(model, CORPUS.tokenizer, "", Sampling(), 64))
    wait_for(page, steps[0])
    assert steps[0].tokens == (CORPUS.tokenizer.bos,)
    expect(page.refusal).to_have_count(0)


def test_a_prompt_longer_than_the_context_says_that_the_window_slid(visit, model):
    prompt = " ".join(["IBM taught me GPT"] * 3)
    page = visit("generation", prompt=prompt).trained()
    steps = list(generate(model, CORPUS.tokenizer, prompt, Sampling(), 64))
    wait_for(page, steps[0])
    typed, context = 13, CORPUS.context_length
    assert (len(steps[0].tokens), steps[0].window_start) == (typed, typed - context)
    said = [sentence for sentence in page.sentences() if f"{typed} tokens" in sentence]
    assert len(said) == 1
    assert {typed, context, typed - context} <= set(map(int, re.findall(r"\d+", said[0])))


def test_an_unknown_word_is_refused_in_one_sentence_and_stays_in_the_box(visit):
    page = visit("generation").trained()
    page.type("prompt", "IBM taught me origami")
    expect(page.refusal).to_have_count(1)
    expect(page.refusal).to_contain_text("origami")
    expect(page.refusal).to_contain_text(str(len(TOKENS) - len(CORPUS.tokenizer.specials)))
    expect(page.key("prompt").locator("input")).to_have_value("IBM taught me origami")
    page.type("prompt", "IBM taught me GPT")
    expect(page.refusal).to_have_count(0)


def put(page, text):
    """Put a text into the prompt through the DOM, in UTF-16 code units: no JSON can carry a lone surrogate."""
    data = text.encode("utf-16-le", errors="surrogatepass")
    field = page.key("prompt").locator("input")
    field.evaluate(
        """(input, units) => {
            const text = String.fromCharCode(...units);
            Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, text);
            input.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        [int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2)],
    )
    field.press("Enter")


def assert_goes_on(page):
    """The same visit takes the next prompt."""
    page.type("prompt", "IBM taught me GPT")
    expect(page.refusal).to_have_count(0)
    page.until(lambda: [chip[0] for chip in shown(page)][:2] == ["<s>", "IBM"], "the next prompt")


def test_a_hostile_prompt_is_only_text(visit):
    """Nothing runs and nothing is fetched; that no exception is shown and no other host asked, `visit` checks."""
    page = visit("generation").trained()
    for text in HOSTILE:
        put(page, text)
        expect(page.refusal).to_have_count(1)
        page.idle()
        assert page.page.evaluate("window.hacked") is None
        written = page.main.evaluate(
            """main => [...main.querySelectorAll("*")].flatMap(element => [...element.attributes]
                .filter(({ name, value }) => name.startsWith("on") || /^\\s*javascript:/i.test(value)
                    || name !== "value" && /example.invalid/.test(value))
                .map(({ name, value }) => `${name}=${value}`))"""
        )
        assert written == []
        assert page.main.locator("script, img[src*=invalid]").count() == 0
        assert_goes_on(page)


def test_a_lone_surrogate_in_the_box_does_not_end_the_visit(visit):
    page = visit("generation").trained()
    # Streamlit's front end sends it as it is, its server refuses the message, and the tab connects again.
    page.tolerated = r"WebSocket onclose: code=1002"
    with page.page.expect_console_message(lambda message: "code=1002" in message.text):
        put(page, "IBM \ud800 taught")
    page.idle()
    assert_goes_on(page)


def test_a_hostile_link_is_only_text(visit):
    page = visit("generation", prompt=SCRIPT + PICTURE).trained()
    expect(page.refusal).to_have_count(1)
    assert page.page.evaluate("window.hacked") is None


def test_another_corpus_brings_another_prompt(visit):
    page = visit("generation", prompt="IBM taught").trained()
    page.choose("corpus", "story")
    field = page.key("prompt").locator("input")
    page.until(lambda: field.input_value().startswith("a "), "a prompt in the words of the other corpus")
    expect(page.refusal).to_have_count(0)
    page.until(lambda: "prompt" not in page.address, "an address without the old prompt")
