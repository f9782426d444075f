"""Check questions: predict first, then compare with the numbers that the page has really computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import streamlit as st

from decoder.language import clean
from pages.ui import furniture
from pages.ui.announcement import announce

NO_ANSWER = "Give an answer first."


@dataclass(frozen=True)
class Question:
    """One question with its right answer, computed by the page; all texts are shown as plain text.

    Attributes:
        text: what is asked.
        right: the right answer: one of `options`, a number, words, or, for "here", what is chosen in a picture; None as long
            as it is not known, and then `reason` says when it will be.
        reason: why it is right, with the numbers.
        wrong: why an answer is not right, made from the answer itself.
        kind: "choice", "number", "words" (compared word by word), or "here": no field, `chosen` is the answer.
        options: of a choice.
        digits: decimals of a number to which an answer must be right; 0 for whole numbers.
        unit: of a number, where it has one: "nats".
        chosen: of "here", what the visitor has chosen in the page's picture.
    """

    text: str
    right: Any
    reason: str
    wrong: Callable[[Any], str]
    kind: Literal["choice", "number", "words", "here"] = "choice"
    options: Sequence[str] = ()
    digits: int = 0
    chosen: Any = None
    unit: str = ""

    def is_right(self, answer: Any) -> bool:
        """Compare an answer with the right one: numbers to the digits asked for, words whatever their spacing."""
        if self.kind == "number":
            return math.isclose(answer, self.right, rel_tol=0, abs_tol=0.5 * 10.0**-self.digits + 1e-9)
        if self.kind == "words":
            return clean(answer).split() == clean(self.right).split()
        return bool(answer == self.right)

    def answer(self) -> str:
        """Return the right answer as a sentence says it; nothing where it is a place in a picture."""
        if self.kind == "number":
            shown = "0" if self.right == 0 else f"{self.right:,.{self.digits}f}".replace("-", "−")
            return f"{shown} {self.unit}".rstrip()
        return "" if self.kind == "here" else str(self.right)


class Verdict(NamedTuple):
    """What is said about an answer, and how many had been handed in by then."""

    text: str = ""
    turn: int = 0


def check(concept: str, *questions: Question) -> None:
    """Ask questions about a concept ("c9"), in a container with the key `check-c9`.

    An answer is judged only when it is handed in; it may be changed and handed in again, or revealed. A question
    whose numbers have changed since, because the page shows something else now, begins anew.
    """

    def ask() -> None:
        with st.container(border=True, key=f"check-{concept}"):
            st.caption("Check yourself")
            verdicts = [_ask(question, f"{concept}-{number}") for number, question in enumerate(questions)]
            # Only the question that has been handed in last is said.
            newest = max(verdicts, key=lambda verdict: verdict.turn, default=Verdict())
            announce(newest.text, newest.turn, key=f"said-{concept}")

    furniture.apart(ask)


def _ask(question: Question, name: str) -> Verdict:
    state = st.session_state
    asked = f"{question.text} {question.right}"
    given = state.get(f"answered {name}", {})
    if given.get("asked") != asked:
        given = {}
    with st.form(f"form-{name}", border=False):
        st.text(question.text)
        answer = _field(question, name)
        with st.container(horizontal=True):
            handed_in = st.form_submit_button("Check", type="primary", key=f"submit-{name}")
            revealed = st.form_submit_button("Show the answer", key=f"reveal-{name}")
    if handed_in or revealed:
        state["handed in"] = turn = state.get("handed in", 0) + 1
        given = {"asked": asked, "answer": answer, "revealed": revealed, "turn": turn}
        state[f"answered {name}"] = given
    if not given:
        return Verdict()
    return Verdict(_judge(question, given["answer"], name, revealed=given["revealed"]), given["turn"])


def _field(question: Question, name: str) -> Any:
    label, key = clean(question.text), f"answer-{name}"
    if question.kind == "here":
        return question.chosen
    if question.kind == "number":
        return st.number_input(
            label,
            value=None,
            step=1 if question.digits == 0 else 10.0**-question.digits,
            format="%d" if question.digits == 0 else f"%.{question.digits}f",
            key=key,
            placeholder="a number",
            label_visibility="collapsed",
            width=220,
        )
    if question.kind == "words":
        return st.text_input(
            label, key=key, max_chars=300, placeholder="type here", label_visibility="collapsed", width=520
        )
    return st.selectbox(
        label,
        question.options,
        index=None,
        key=key,
        placeholder="choose",
        label_visibility="collapsed",
        width=320,
    )


def _judge(question: Question, answer: Any, name: str, *, revealed: bool) -> str:
    if question.right is None:
        kind, sign, words = "open", "", question.reason
    elif revealed:
        told = question.answer()
        kind, sign, words = "shown", f"The answer: {told}.\n" if told else "The answer: ", question.reason
    elif answer is None or answer == "":
        kind, sign, words = "open", "", NO_ANSWER
    elif question.is_right(answer):
        kind, sign, words = "right", "✓ Right. ", question.reason
    else:
        kind, sign, words = "wrong", "✗ Not yet. ", question.wrong(answer)
    with st.container(key=f"verdict-{kind}-{name}"):
        st.text(sign + words)
    return sign + words
