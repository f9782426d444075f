"""The page of tokens and targets without a browser: what it says is what the library computes, on every kind of text."""

import math
import random

import pytest
import torch
from reading_pages import (
    SYMBOL,
    pictures_and_numbers,
    recorded,
    sent,
    terms_in,
    terms_offered,
    words_of,
)
from streamlit.testing.v1 import AppTest

from decoder import Decoder, TextSource, load_corpus, open_corpus
from decoder.training.presets import preset
from pages.ui import session, strip
from pages.ui.session import Exploration, Snapshot

TEXT = " ".join(random.Random(8).choices(["red", "old", "quiet", "boat", "train"], k=300))
IBM = load_corpus("ibm")
TOKENS = IBM.tokenizer.tokens
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT", "</s>"]


@pytest.fixture
def visit(monkeypatch):
    """Open the page over an untrained decoder: its numbers need no training to be right."""
    tables = recorded(monkeypatch)

    def open_page(corpus="ibm", level=None, state=None, causal=True, **query):
        source = TextSource(TEXT, level) if level else corpus
        config = preset(source, size="small", causal=causal)
        model = Decoder(config.decoder, seed=1)
        explored = Exploration(config, "run", open_corpus(config.corpus, config.decoder.context_length))
        monkeypatch.setattr(session, "explore", lambda: explored)
        monkeypatch.setattr(strip, "show", lambda _: Snapshot(model, 0))
        at = AppTest.from_file("../../app.py", default_timeout=60)
        for key, value in query.items():
            at.query_params[key] = value
        for key, value in (state or {}).items():
            at.session_state[key] = value
        at.switch_page("pages/lecture/tokens.py")
        at.run()
        assert not at.exception
        at.model, at.tables = model, tables
        return at

    return open_page


def said(at):
    return [text.value for text in at.text]


def nats(model, tokens):
    """-ln p of every token but the first, each from a pass over its prefix, by logits and logarithms alone."""
    ids = torch.tensor([[TOKENS.index(token) for token in tokens]])
    with torch.no_grad():
        logits = [model(ids[:, :length])[0, -1].double() for length in range(1, len(tokens))]
    return [
        (row.exp().sum().log() - row[token]).item() for row, token in zip(logits, ids[0, 1:], strict=True)
    ]


def share(probability):
    """A probability as sentences write it, but for its last digits."""
    return f"{100 * probability:.2g}"


def rows_of(at, key):
    table, _ = at.tables[key]
    return table.rows


def test_the_row_of_the_reference_sentence_has_five_targets_and_their_mean_loss(visit):
    at = visit()
    losses = nats(at.model, ["<s>", "IBM", "taught", "me", "GPT", "</s>"])
    (sentence,) = [text for text in said(at) if "targets: every token but the first" in text]
    assert sentence.startswith("6 tokens make 5 targets")
    assert f"{sum(losses) / 5:.4g} nats" in sentence


@pytest.mark.parametrize(
    ("start", "end", "tokens", "targets"),
    [("true", "false", 5, 4), ("false", "true", 5, 4), ("false", "false", 4, 3)],
)
def test_the_switches_take_targets_away(visit, start, end, tokens, targets):
    at = visit(with_start=start, with_end=end)
    assert any(text.startswith(f"{tokens} tokens make {targets} targets") for text in said(at))
    assert any("never predicted" in text for text in said(at)) == (start == "false")
    assert any("no reason ever to stop" in text for text in said(at)) == (end == "false")
    assert any("for this page only" in caption.value for caption in at.caption)


def test_the_switches_are_not_spoken_of_while_they_are_on(visit):
    assert not any("for this page only" in caption.value for caption in visit().caption)


def test_equal_words_at_both_ends_are_told_apart_by_their_places(visit):
    at = visit(sentence="IBM taught IBM", with_start="false", with_end="false")
    assert any(
        "The first one, “IBM”, is only an input here; the last one, “IBM”, is only a target." in text
        for text in said(at)
    )


def test_counting_the_padding_divides_the_same_sum_by_more_cells(visit):
    at = visit(count_pads="true", rows="3", shuffle="5")
    rows = ["IBM taught me GPT", *IBM.examples(48, seed=5)[:2]]
    losses = [nats(at.model, ["<s>", *row.split(), "</s>"]) for row in rows]
    total, real = sum(map(sum, losses)), sum(map(len, losses))
    cells = 3 * max(map(len, losses))
    labels = {metric.label: metric.value for metric in at.metric}
    assert labels == {
        f"pads left out: sum / {real}": f"{total / real:.4g}",
        f"pads counted: sum / {cells}": f"{total / cells:.4g}",
    }


@pytest.mark.parametrize("level", ["word", "char", "bpe"])
def test_a_text_without_special_tokens_has_its_page_too(visit, level):
    at = visit(level=level)
    assert not [toggle for toggle in at.toggle if toggle.key in {"with_start", "with_end"}]
    assert any("no padding token" in text for text in said(at))
    assert not [toggle for toggle in at.toggle if toggle.key == "count_pads"]
    assert not at.metric
    assert sent(at, "batch_grid")["legend"] == ["Under each token its loss as a target, in nats."]
    assert not [text for text in said(at) if text.startswith("⚠")]
    assert not any("padding?" in text or "a pad costs" in text or "<s>" in text for text in said(at))
    noun = {"word": "word", "char": "character", "bpe": "token"}[level]
    assert f"Type one more {noun}: how many targets would the sentence have then?" in said(at)
    (told,) = {text.split(" tokens make ")[0] for text in said(at) if " tokens make " in text}
    at.number_input(key="answer-c10-0").set_value(int(told))
    at.button(key="submit-c10-0").click().run()
    assert any(text.startswith("✓ Right.") for text in said(at))


@pytest.mark.parametrize("corpus", ["alphabet", "recall", "reverse", "ibm-long", "story", "count"])
def test_every_corpus_has_its_page(visit, corpus):
    at = visit(corpus)
    assert not [text for text in said(at) if text.startswith("⚠")]
    assert len(at.expander) > 3  # drawn to its end


@pytest.mark.parametrize("sentence", ["", "IBM taught me origami"])
def test_what_cannot_be_read_is_refused_in_one_sentence(visit, sentence):
    at = visit(with_start="false")
    at.text_input(key="sentence").set_value(sentence).run()
    assert len([text for text in said(at) if text.startswith("⚠")]) == 1
    at.text_input(key="sentence").set_value("IBM taught me GPT").run()
    assert not [text for text in said(at) if text.startswith("⚠")]
    assert not at.exception


def test_a_sentence_longer_than_the_context_is_cut_and_says_so(visit):
    at = visit(sentence=" ".join(["IBM taught me GPT"] * 4))
    assert any(
        "18 tokens. This decoder reads 9 and predicts one more: the first 10" in text for text in said(at)
    )


def test_another_sentence_of_the_corpus_is_one_of_it(visit):
    at = visit()
    at.button(key="another").click().run()
    words = at.text_input(key="sentence").value.split()
    ids = [TOKENS.index(word) for word in words]
    assert IBM.valid([IBM.tokenizer.bos, *ids, IBM.tokenizer.eos])


def test_every_check_can_be_answered_with_computed_numbers(visit):
    at = visit(rows="3", shuffle="5")
    rows = [["<s>", *row.split(), "</s>"] for row in ("IBM taught me GPT", *IBM.examples(48, seed=5)[:2])]
    losses = [nats(at.model, row) for row in rows]
    real, cells = sum(map(len, losses)), 3 * max(map(len, losses))
    asked = IBM.examples(1, seed=917)[0].split()
    shown = ["<s>", *asked, "</s>"][:6]
    answers = {
        "c1-0": "me",
        "c1-1": "GPT",
        "c9-0": " ".join(shown[1:]),
        "c10-0": 3,
        "c11-0": cells + cells // 3 - real - len(["IBM", "taught", "</s>"]),  # with a short row more
        "c11-1": round(sum(map(sum, losses)) / cells, 2),
        "c14-0": 0.0,
    }
    for name, answer in answers.items():
        field = (
            at.number_input
            if not isinstance(answer, str)
            else at.text_input
            if name == "c9-0"
            else at.selectbox
        )
        field(key=f"answer-{name}").set_value(answer)
        at.button(key=f"submit-{name}").click().run()
    assert not at.exception
    assert [text[:7] for text in said(at) if text.startswith(("✓", "✗"))] == ["✓ Right"] * 7


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("c1-0", "taught", "stands at t = 2"),
        ("c1-1", "me", "switching it moves every other token by 1 place"),
        ("c10-0", 4, "would be the number of tokens"),
        ("c10-0", 5, "as the switches stand now"),
    ],
)
def test_a_wrong_answer_is_told_why(visit, name, answer, hint):
    at = visit()
    field = at.selectbox if isinstance(answer, str) else at.number_input
    field(key=f"answer-{name}").set_value(answer)
    at.button(key=f"submit-{name}").click().run()
    (verdict,) = [text for text in said(at) if text.startswith("✗")]
    assert hint in verdict


def test_plain_names_take_the_place_of_symbols(visit):
    symbols, names = visit(), visit(notation="plain names")
    assert any("Which token is ω₃?" in text for text in said(symbols))
    assert any("ω₃ means the token at t = 3" in caption.value for caption in symbols.caption)
    assert any("ω₁ means" in caption.value for caption in visit(sentence="IBM", with_end="false").caption)
    assert any("Which token stands at t = 3?" in text for text in said(names))
    assert any("−ln probability(IBM) = ln Σ e^logit − logit[IBM]" in code.value for code in names.code)
    assert [text for text in words_of(names) if SYMBOL.search(text)] == []
    assert [text for text in words_of(symbols) if SYMBOL.search(text)]


# ---- what the numbers are


def test_the_tables_of_the_sentence_are_those_of_the_library(visit):
    at = visit()
    ids, losses = [TOKENS.index(token) for token in SENTENCE], nats(at.model, SENTENCE)
    assert rows_of(at, "token_chips") == [[t, token, ids[t]] for t, token in enumerate(SENTENCE)]
    assert any(
        text.startswith("The 2nd of 6 tokens is “IBM”, id 3 in the vocabulary (0 to 34)") for text in said(at)
    )
    shift = rows_of(at, "shift")
    assert [row[:5] for row in shift] == [
        [t, SENTENCE[t], ids[t], SENTENCE[t + 1], ids[t + 1]] for t in range(5)
    ]
    assert [row[5] for row in shift] == pytest.approx(losses, abs=1e-5)
    assert [float(row["loss"]) for row in sent(at, "shift")["rows"]] == pytest.approx(losses, abs=6e-4)
    assert [row["share"] for row in sent(at, "shift")["rows"]] == pytest.approx(
        [min(loss / math.log(35), 1) for loss in losses], abs=1e-5
    )
    with torch.no_grad():
        logits = at.model(torch.tensor([ids[:1]]))[0, -1].double()
    told = rows_of(at, "target_logits")
    assert [row[:2] for row in told] == [[at, token] for at, token in enumerate(TOKENS)]
    assert [row[2] for row in told] == pytest.approx(logits.tolist(), abs=1e-5)
    assert [row[3] for row in told] == pytest.approx(logits.softmax(0).tolist(), abs=1e-6)


def test_the_tables_of_the_batch_are_those_of_the_library(visit):
    at = visit(rows="3", shuffle="5", count_pads="true", state={"cell at": (2, 1)})
    rows = [["<s>", *row.split(), "</s>"] for row in ("IBM taught me GPT", *IBM.examples(48, seed=5)[:2])]
    width = max(map(len, rows))
    expected = []
    for n, row in enumerate(rows, 1):
        losses = [None, *nats(at.model, row)]
        for t in range(width):
            token = row[t] if t < len(row) else "<pad>"
            role = "input only" if t == 0 else "target" if t < len(row) else "padding"
            expected.append([n, t, token, TOKENS.index(token), role, losses[t] if t < len(row) else None])
    batch = rows_of(at, "batch_grid")
    assert [row[:5] for row in batch] == [row[:5] for row in expected]
    assert [row[5] for row in batch] == [pytest.approx(row[5], abs=1e-5) for row in expected]

    losses = nats(at.model, rows[2])  # the chosen row, looked at alone
    one = rows_of(at, "one_row")
    assert [row[:3] for row in one] == [
        [t, *pair] for t, pair in enumerate(zip(rows[2], rows[2][1:], strict=False))
    ]
    assert [row[3] for row in one] == pytest.approx(losses, abs=1e-5)
    strips = sent(at, "one_row")
    notes = [chip["note"] for chip in strips["strips"][1]["chips"]]
    assert [float(note.split(" · ")[1]) for note in notes] == pytest.approx(losses, abs=6e-4)
    assert (
        strips["caption"]
        == f"Row 3. Under each target its loss; their mean is {sum(losses) / len(losses):.4g} nats."
    )
    assert (strips["row"], strips["marked"]) == (2, 1)

    ids = torch.tensor(
        [[TOKENS.index(token) for token in [*row, *["<pad>"] * width][:width]] for row in rows]
    )
    with torch.no_grad():
        logits = at.model(ids[:, :-1]).double()
    pads = [
        (logits[n, t].exp().sum().log() - logits[n, t, 0]).item()
        for n, row in enumerate(rows)
        for t in range(len(row) - 1, width - 1)
    ]
    assert any(f"would now pay {sum(pads) / len(pads):.4g} nats for each" in text for text in said(at))


def test_the_table_of_changes_is_that_of_the_library(visit):
    at = visit(rows="3", shuffle="5", state={"new token of ibm": TOKENS.index("NASA")})
    rows = [["<s>", *row.split(), "</s>"] for row in ("IBM taught me GPT", *IBM.examples(48, seed=5)[:2])]
    width = max(map(len, rows))
    ids = torch.tensor(
        [[TOKENS.index(token) for token in [*row, *["<pad>"] * width][:width]] for row in rows]
    )[:, :-1]
    changed = ids.clone()
    changed[1, 1] = TOKENS.index("NASA")  # row 2 is offered, and its token 1
    with torch.no_grad():
        expected = (at.model(changed) - at.model(ids)).abs().amax(dim=(1, 2)).tolist()
    assert rows_of(at, "changes") == [
        [1, "", 0],
        [2, f"{rows[1][1]} → NASA", pytest.approx(expected[1])],
        [3, "", 0],
    ]


# ---- what is true without a mask, and on other corpora


def test_without_a_mask_nothing_is_said_to_be_read_alone_that_was_not(visit):
    at = visit(causal=False)
    (told,) = [text for text in said(at) if "is the target at position t = 0" in text]
    assert told.endswith("its prediction reads all 5 inputs, the target among them.")
    assert sent(at, "shift")["reads_all"]
    (sentence,) = [text for text in said(at) if "a low loss is no sign" in text]
    alone = math.exp(-nats(at.model, ["<s>", "IBM"])[0])  # nothing stands behind <s>
    assert f"From <s> alone the decoder gives it {share(alone)} %" in sentence
    ids = torch.tensor([[TOKENS.index(token) for token in SENTENCE]])
    with torch.no_grad():
        read = at.model(ids[:, :-1])[0].softmax(dim=1)
    assert share(read[0, ids[0, 1]].item()) != share(alone)
    assert f"In the table above “IBM” gets {share(read[0, ids[0, 1]].item())} %, because" in sentence
    assert f"after “GPT” the decoder gives it {share(read[4, ids[0, 5]].item())} %" in sentence
    assert any("the pads are read all the same" in text for text in said(at))
    assert "mask" in terms_offered(at)
    masked = visit()
    assert not sent(masked, "shift")["reads_all"]
    assert not any("mask" in text for text in words_of(masked))


@pytest.mark.parametrize(
    ("corpus", "kinds"), [("count", "words and numbers"), ("reverse", "words and letters")]
)
def test_what_belongs_to_a_prompt_is_said_never_to_be_scored(visit, corpus, kinds):
    at = visit(corpus)
    assert any("in training it belongs to the prompt and is never scored" in text for text in said(at))
    assert any(f"{kinds} without <s>" in text for text in said(at))
    assert not any(" word " in text for text in words_of(at, but=("glossary", "what_targets")))
    assert f"in {kinds} that" in at.text_input(key="sentence").help
    without = visit(corpus, with_start="false")
    assert any("training does not score it anyway" in text for text in said(without))


def test_a_decoder_that_hardly_gives_the_end_is_not_said_to_stop(visit):
    assert any("it would hardly ever stop here" in text for text in said(visit()))
    assert not any("has always been fed <s>" in text for text in said(visit("recall", with_start="false")))


# ---- what every picture has, and what leads on


def test_numbers_and_code_stand_under_every_picture(visit):
    at = visit(state={"new token of ibm": 4})
    found = pictures_and_numbers(at)
    assert [key for kind, key in found if kind == "picture"] == [
        "token_chips", "shift", "target_logits", "batch_grid", "one_row", "changes",
    ]  # fmt: skip
    assert found == [(kind, key) for _, key in found[::2] for kind in ("picture", "numbers")]
    assert [key for key, (_, code) in at.tables.items() if not 1 <= len(code) <= 2] == []
    at.session_state["one_row numbers"] = True
    at.run()
    assert any("def read(model: Decoder, batch: Batch)" in code.value for code in at.code)


def test_every_word_of_the_glossary_is_explained_where_it_is_used(visit):
    for corpus, causal in (("ibm", True), ("count", False)):
        at = visit(corpus, causal=causal, state={f"new token of {corpus}": 4}, count_pads="true")
        assert terms_in(words_of(at)) - terms_offered(at) == set()
    assert {"layer", "head", "softmax"} <= terms_offered(at)


def test_the_page_says_where_the_lecture_says_it_differently(visit):
    at = visit()
    (told,) = [
        caption.value for caption in at.caption if "Where the lecture says it differently" in caption.value
    ]
    assert "zero padding" in told
    assert at.model.token_table.weight[0].abs().max() > 0  # a pad is not a vector of zeros
    assert not any("zero padding" in caption.value for caption in visit(level="word").caption)


def test_a_choice_reaches_every_picture(visit):
    at = visit(state={"token_chips": {"chosen": {"place": [3], "turn": 1}}, "token at": 3, "cell at": (0, 3)})
    assert sent(at, "shift")["selected"] == [3]
    assert sent(at, "batch_grid")["selected"] == [0, 3]
    assert (sent(at, "one_row")["row"], sent(at, "one_row")["marked"]) == (0, 3)


def test_the_chosen_row_can_be_gone_on_with(visit):
    assert not [button for button in visit().button if button.key == "go_on_with_row"]
    at = visit(rows="3", shuffle="5", state={"cell at": (2, 4)})
    assert any("unless you go on with this row" in caption.value for caption in at.caption)
    at.button(key="go_on_with_row").click().run()
    assert not at.exception
    assert at.text_input(key="sentence").value == IBM.examples(48, seed=5)[1]
    assert sent(at, "batch_grid")["selected"] == [0, 4]
    assert [chip["text"] for chip in sent(at, "one_row")["strips"][0]["chips"]][1:] == IBM.examples(
        48, seed=5
    )[1].split()
    assert not [button for button in at.button if button.key == "go_on_with_row"]
    at.switch_page("pages/lecture/embeddings.py").run()
    assert at.text_input(key="sentence").value == IBM.examples(48, seed=5)[1]
