"""Parts of the page of attention about one head: where it looks, how widely, and what it takes from there."""

from __future__ import annotations

import math

import streamlit as st

from decoder import attend
from decoder.figures import attention_words, words
from decoder.figures.arcs import arc_rows, written
from decoder.figures.bars import position_bars
from decoder.figures.matrices import visible
from decoder.figures.tables import Table
from decoder.inference.generation import encode_prompt
from decoder.language.grammar import farthest
from decoder.model import mixing
from decoder.model.decoder import Block
from decoder.model.mixing import Mixture
from pages.ui import aids, furniture, notation, session
from pages.ui import attention_questions as questions
from pages.ui.address import IN_ADDRESS
from pages.ui.checks import check
from pages.ui.choice import in_range
from pages.ui.head_row import NEEDED, ForwardPass, HeadRow, look_from
from pages.ui.heads import choose_head, show_heads
from pages.ui.matrix import Cell, matrices
from pages.ui.notation import name
from pages.ui.sentence import as_sentence, example
from pages.ui.sheet import sheet
from pages.ui.vectors import Vector, vectors

MOST_PARTS = 6  # values that are drawn one by one
COLUMN = "attention column"  # of the cell that was chosen last


# ---- every layer and head, and one of them with one of its rows


def choose(forward: ForwardPass) -> HeadRow:
    """Show every head, and let the visitor choose one of them and one of its rows."""
    st.subheader("Every layer, every head")
    hatched = ", hatched ones are masked" if forward.causal else ""
    st.caption(
        f"Rows are the tokens that look, columns what they look at. Bright cells get much weight{hatched}. "
        "Click a head to see it in everything below; the address carries your choice."
    )
    pictures = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        head = choose_head(forward.n_layers, forward.n_heads)
        row = _choose_row(forward)
    with pictures:
        show_heads(forward.heads, forward.labels, head, key="attention_heads")
    return HeadRow(forward, *head, row)


def _choose_row(forward: ForwardPass) -> int:
    in_range("row", forward.length)
    last, first = forward.length - 1, farthest(forward.needed)
    if not last:
        return 0
    return st.slider(
        "Row: the token that looks",
        0,
        last,
        last if first is None else first,
        key="row",
        **IN_ADDRESS,
        width=320,
    )


def enlarge(seen: HeadRow) -> None:
    """Show the head as a matrix and its row as arcs, and say where it looks."""
    st.subheader("One head, enlarged")
    st.caption(
        "First the whole head: click a cell, or walk with the arrow keys and press Enter, to choose its row. "
        "Then this row as arcs: the thicker, the more weight."
    )
    picture, reading = st.columns(2)
    with picture:
        _matrix(seen)
    with reading:
        _arcs(seen)
    forward, grammar = seen.forward, seen.forward.corpus.grammar
    furniture.say(
        attention_words.looks_sentence(
            forward.labels, seen.looks, seen.row, seen.layer, seen.head, seen.choices
        ),
        attention_words.needed_sentence(
            forward.labels,
            seen.needed,
            seen.weights[seen.row, list(seen.needed)].sum().item(),
            grammar.possible(forward.ids[: seen.row + 1]) if grammar else (0, 0),
            has_grammar=forward.corpus.has_grammar,
            fits=seen.fits,
        ),
        key="what_head",
    )


def _matrix(seen: HeadRow) -> None:
    labels = seen.forward.labels
    matrices(
        [seen.matrix],
        rows=labels,
        columns=labels,
        key="attention_matrix",
        selected=(0, seen.row, min(st.session_state.get(COLUMN, 0), len(labels) - 1)),
        on_choose=_look_along,
        cross=True,
        marks=[(at, place) for at, places in enumerate(seen.forward.needed) for place in places],
        mark_name=NEEDED,
    )
    aids.numbers(
        Table(
            f"weights of layer {seen.layer}, head {seen.head}",
            ["this token looks", *labels],
            [[label, *values] for label, values in zip(labels, seen.matrix.values, strict=True)],
        ),
        key="attention_matrix",
        code=(attend,),
    )


def _look_along(cell: Cell) -> None:
    """Show the row of this cell in everything that follows."""
    st.session_state[COLUMN] = cell.column
    look_from(cell.row)


def _arcs(seen: HeadRow) -> None:
    labels, closed = seen.forward.labels, seen.masked[seen.row].tolist()
    arcs = arc_rows(
        labels,
        seen.looks,
        seen.row,
        masked=closed,
        marked=seen.needed,
        mark_name=NEEDED,
        appearance=session.appearance(),
    )
    furniture.chart(arcs, key="attention_row")
    note = "▸ looks" + (f"   ◆ {NEEDED}" if seen.needed else "")
    st.caption(note + ("   ╱╱╱ later, closed by the mask" if any(closed) else ""))
    aids.numbers(
        Table(
            f"where {seen.label} looks, layer {seen.layer}, head {seen.head}",
            ["token", "weight"],
            [list(line) for line in zip(labels, seen.matrix.values[seen.row], strict=True)],
        ),
        key="attention_row",
        code=(attend,),
        figure=arcs,
    )


# ---- the weighted sum of values


def weighted_sum(seen: HeadRow) -> None:
    """Show what the row takes from the places where it looks: values, values times weights, and their sum."""
    looks = seen.looks
    mixture = mixing.mix_values(seen.block, seen.head, seen.row)
    shown = sorted(sorted(seen.open_places, key=lambda place: -looks[place])[:MOST_PARTS])
    rest = [place for place in seen.open_places if place not in shown]
    output = name("head output", t=seen.row)

    st.subheader("What the head takes from there: a weighted sum of values")
    st.caption(
        "First the values that the open tokens hand over. Then each of them multiplied with its weight, and below these their "
        f"sum, {output}. All colours mean the same numbers."
        + (f" The {MOST_PARTS} tokens with the most weight are drawn one by one." if rest else "")
    )
    reach = max(mixture.values[seen.open_places].abs().max().item(), mixture.total.abs().max().item())
    left, right = st.columns(2)
    with left:
        _values(seen, mixture, shown, reach)
    with right:
        _parts(seen, mixture, shown, rest, reach)
    furniture.say(
        attention_words.mixture_sentence(
            seen.label,
            output if notation.chosen() == "symbols" else "",
            seen.choices,
            mixture.values.shape[1],
            mixture.difference,
        ),
        key="what_mixture",
    )
    _ask_about_sums(seen)


def _values(seen: HeadRow, mixture: Mixture, shown: list[int], reach: float) -> None:
    tokens, labels = seen.forward.tokens, seen.forward.labels
    vectors(
        [
            Vector(name("value", t=place), mixture.values[place].tolist(), visible(tokens[place]))
            for place in shown
        ],
        key="values",
        reach=reach,
        title="Values",
        names=7,
    )
    aids.numbers(
        Table(
            f"values of layer {seen.layer}, head {seen.head}",
            ["token", *_numbered(mixture)],
            [[labels[place], *mixture.values[place].tolist()] for place in seen.open_places],
        ),
        key="values",
        code=(Block.forward,),
    )


def _parts(seen: HeadRow, mixture: Mixture, shown: list[int], rest: list[int], reach: float) -> None:
    tokens, labels, looks = seen.forward.tokens, seen.forward.labels, seen.looks
    strips = [
        Vector(
            f"{written(looks[place], seen.choices)} · {name('value', t=place)}",
            mixture.parts[place].tolist(),
            visible(tokens[place]),
        )
        for place in shown
    ]
    if rest:
        together = mixture.parts[rest].sum(dim=0)
        share = seen.weights[seen.row, rest].sum().item()
        strips.append(Vector(f"+ {len(rest)} more, weight {share:.3f}", together.tolist(), "added up"))
    strips.append(Vector(f"= {name('head output', t=seen.row)}", mixture.total.tolist(), "the sum"))
    vectors(strips, key="parts", reach=reach, title="Values times weights, and their sum", names=11)
    aids.numbers(
        Table(
            f"values times weights of layer {seen.layer}, head {seen.head}, row {seen.label}",
            ["token", "weight", *_numbered(mixture)],
            [
                *(
                    [labels[place], looks[place], *mixture.parts[place].tolist()]
                    for place in seen.open_places
                ),
                ["sum", None, *mixture.total.tolist()],
            ],
        ),
        key="parts",
        code=(mixing.mix_values,),
    )


def _numbered(mixture: Mixture) -> list[str]:
    return [f"number {at + 1}" for at in range(mixture.values.shape[1])]


def _ask_about_sums(seen: HeadRow) -> None:
    forward = seen.forward
    trace, sentence = forward.trace, "this sentence"
    if forward.length == 1:  # nothing comes later than a single token
        corpus, context = forward.corpus, forward.model.config.context_length
        sentence = f"“{example(corpus, context)}”"
        longer = encode_prompt(corpus.tokenizer, example(corpus, context))
        trace = forward.model.trace(as_sentence(corpus, longer[:context]).ids)
    later = [block.attention.weights[0].triu(1).max().item() for block in trace.blocks]
    check(
        "c26",
        questions.what_is_the_sum(),
        questions.what_is_row_0(mixing.mix_values(seen.block, seen.head, 0)),
        questions.what_do_later_tokens_get(max(later), sentence),
    )


# ---- how widely a head looks, and at what


def spread(seen: HeadRow) -> None:
    """Show how widely each row of the head spreads its weights, and which tokens get them; then the same of every head."""
    st.subheader("How widely does it look, and at what?")
    st.caption(
        "Entropy measures how widely a row spreads its weights, here in nats: the sum of −weight · ln weight over its open "
        "places. It is 0 if one place gets everything, and ln n if n places get equally much. Each bar is the entropy of one "
        "row; its outline is the most that the row could have, if it looked equally at all that is open to it."
    )
    said = [_entropies(seen)]
    if seen.forward.length > 1:
        said.append(_received(seen))
    furniture.say(*said, key="what_entropy")
    if seen.forward.length > 1:
        every = _every_head(seen.forward)
        sheet(every, key="every_head")
        aids.numbers(every, key="every_head", code=(mixing.summarise, mixing.received))


def _entropies(seen: HeadRow) -> str:
    """Draw the entropy of every row, and return what is to be said of it."""
    forward, labels = seen.forward, seen.forward.labels
    entropies = mixing.entropies(seen.weights).tolist()
    open_counts = (~seen.masked).sum(dim=-1).tolist()
    bars = position_bars(
        forward.tokens,
        [("entropy of the row", "weights", entropies)],
        [("equal weights", [math.log(count) for count in open_counts])],
        description="; ".join(
            f"{label}: entropy {words.number(entropy)} nats, at most ln {count}"
            for label, entropy, count in zip(labels, entropies, open_counts, strict=True)
        ),
        x_title="the token that looks",
        y_title="entropy, nats",
        first=0,
        appearance=session.appearance(),
    )
    furniture.chart(bars, key="entropies")
    aids.numbers(
        Table(
            f"entropy of every row of layer {seen.layer}, head {seen.head}",
            ["token", "entropy of its row", "open places"],
            [list(line) for line in zip(labels, entropies, open_counts, strict=True)],
        ),
        key="entropies",
        code=(mixing.entropies,),
        figure=bars,
    )
    return attention_words.entropy_sentence(seen.label, entropies[seen.row], seen.choices)


def _received(seen: HeadRow) -> str:
    """Draw the mean weight that every token gets, and return what is to be said of it."""
    forward, labels, masked_scores = seen.forward, seen.forward.labels, seen.masked_scores
    st.caption(
        "Mean weight that each token gets from the rows that may look at it. The outline is what it would get if they looked "
        "equally at all that is open to them. The first row is left out: it has no choice. Mind how few rows there are behind "
        "the last bars: at the last token only its own row may look."
        if forward.causal
        else "Mean weight that each token gets from all rows. The outline is what it would get if they looked equally at all "
        "tokens."
    )
    received, even = (
        mixing.received(each, masked_scores).tolist()
        for each in (seen.weights, mixing.even_weights(masked_scores))
    )
    looking = mixing.lookers(masked_scores).sum(dim=0).tolist()
    bars = position_bars(
        forward.tokens,
        [("mean weight received", "weights", received)],
        [("equal weights", even)],
        description="; ".join(
            f"{label}: {words.number(mean)}, with equal weights {words.number(share)}"
            for label, mean, share in zip(labels, received, even, strict=True)
        ),
        x_title="the token looked at",
        y_title="mean weight",
        top=1.0,
        first=0,
        appearance=session.appearance(),
    )
    furniture.chart(bars, key="received")
    aids.numbers(
        Table(
            f"mean weight received in layer {seen.layer}, head {seen.head}",
            ["token", "mean weight received", "with equal weights", "rows behind it"],
            [list(line) for line in zip(labels, received, even, looking, strict=True)],
        ),
        key="received",
        code=(mixing.received, mixing.even_weights),
        figure=bars,
    )
    summary = mixing.summarise(seen.weights, masked_scores)
    return attention_words.most_sentence(labels[summary.place], summary.mean, summary.even, summary.rows)


def _every_head(forward: ForwardPass) -> Table:
    return Table(
        "every head, over the rows that have a choice: mean entropy, and the token it looks at most beyond an even share",
        [
            "layer",
            "head",
            "mean entropy",
            "looks most at",
            "mean weight there",
            "with equal weights",
            "rows behind it",
        ],
        [
            [layer, head, each.entropy, forward.labels[each.place], each.mean, each.even, each.rows]
            for layer, heads in enumerate(forward.summaries)
            for head, each in enumerate(heads)
        ],
    )
