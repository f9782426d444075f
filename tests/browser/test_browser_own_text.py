"""A text of the visitor's own: refused in one sentence where it cannot be trained on, else trained and prompted."""

import random

from playwright.sync_api import expect

from decoder import Sampling, TextSource, generate, open_corpus
from decoder.training.presets import preset


def some_text():
    """Some 400 words in sentences, none of them of a corpus of the app."""
    chance = random.Random(8)
    kinds = (
        ["red", "old", "quiet"],
        ["boat", "train", "kite"],
        ["crosses", "leaves", "finds"],
        ["river", "city", "hill"],
    )
    return " ".join("the {} {} {} the {} .".format(*map(chance.choice, kinds)) for _ in range(60))


def test_a_text_that_cannot_be_trained_on_is_refused_in_one_sentence(visit):
    page = visit("generation", corpus="text", size="small")
    expect(page.refusal).to_have_count(1)  # nothing has been pasted yet
    for text, number in (("alas", "1"), ("ho " * 300, "300"), ("   ", "0")):
        page.type("text", text)
        expect(page.refusal).to_have_count(1)
        expect(page.refusal).to_contain_text(f" {number} ")
        expect(page.key("text").locator("textarea")).to_have_value(text)


def test_a_pasted_text_is_trained_and_continued_and_survives_a_switch_of_pages(visit, trainings):
    text = some_text()
    page = visit("generation", corpus="text", size="small", greedy="true")
    page.type("text", text)
    expect(page.refusal).to_have_count(0)
    config = preset(TextSource(text), size="small")
    corpus = open_corpus(config.corpus, config.decoder.context_length)
    trainings.finished(config)
    page.trained()
    page.type("prompt", "the old boat")
    model = trainings.model(config)
    steps = list(generate(model, corpus.tokenizer, "the old boat", Sampling(greedy=True), 64))
    tokens = corpus.tokenizer.tokens
    first = [*(tokens[token] for token in steps[0].tokens), tokens[steps[0].picked]]
    assert first[:3] == ["the", "old", "boat"]
    page.until(lambda: [chip[0] for chip in page.strips("generated").get("text", [])] == first, f"{first}")

    page.type("prompt", "")  # this vocabulary has no start token
    expect(page.refusal).to_have_count(1)
    page.type("prompt", "the old boat")
    expect(page.refusal).to_have_count(0)

    page.go_to("Attention").trained()
    expect(page.key("text").locator("textarea")).to_have_value(text)
    expect(page.refusal).to_have_count(0)
    page.go_to("Generation").trained()
    expect(page.key("text").locator("textarea")).to_have_value(text)
    expect(page.key("prompt").locator("input")).to_have_value("the old boat")
    page.until(lambda: [chip[0] for chip in page.strips("generated").get("text", [])] == first, f"{first}")


def test_an_uploaded_text_is_trained_on_and_a_file_of_other_bytes_refused(visit):
    page = visit("generation", corpus="text", size="small")
    upload = page.key("upload").locator('input[type="file"]')
    upload.set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"\xff\x00\xfe"})
    expect(page.page.get_by_text("no text in UTF-8")).to_have_count(1)
    upload.set_input_files({"name": "b.txt", "mimeType": "text/plain", "buffer": some_text().encode()})
    expect(page.refusal).to_have_count(0)
