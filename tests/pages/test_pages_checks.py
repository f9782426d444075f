"""Check questions: judged only when handed in, as often as one likes, and begun anew when their numbers change."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from pages.ui.checks import NO_ANSWER, Question

PAGE = """
import streamlit as st
from pages.ui.checks import Question, check

right = st.session_state.get("right", 4)
check(
    "c99",
    Question("How many?", right, f"It is {right}.", lambda given: f"{given} is too many.", kind="number"),
    Question("Which?", "b", "It is b.", lambda given: f"{given} comes before b.", options=["a", "b"]),
    Question("What?", "IBM taught", "As it says.", lambda given: "No.", kind="words"),
    Question("Where?", (2, 3), "There.", lambda place: f"{place} is elsewhere.", kind="here",
             chosen=st.session_state.get("place")),
)
"""


def page(**state):
    at = AppTest.from_string(PAGE)
    for key, value in state.items():
        at.session_state[key] = value
    return at.run()


def verdicts(at):
    assert not at.exception
    return [
        text.value
        for text in at.text
        if text.value[0] in "✓✗" or text.value.startswith(("The answer", NO_ANSWER))
    ]


def press(at, number, button="submit"):
    at.button(key=f"{button}-c99-{number}").click().run()
    return verdicts(at)


def test_nothing_is_judged_before_it_is_handed_in():
    at = page()
    at.number_input(key="answer-c99-0").set_value(7)
    assert verdicts(at) == []


def test_a_wrong_answer_gets_its_reason_and_may_be_mended():
    at = page()
    at.number_input(key="answer-c99-0").set_value(7)
    assert press(at, 0) == ["✗ Not yet. 7 is too many."]
    at.number_input(key="answer-c99-0").set_value(4)
    assert press(at, 0) == ["✓ Right. It is 4."]


def test_an_answer_can_be_revealed():
    assert press(page(), 0, "reveal") == ["The answer: 4.\nIt is 4."]
    assert press(page(), 1, "reveal") == ["The answer: b.\nIt is b."]
    assert press(page(), 2, "reveal") == ["The answer: IBM taught.\nAs it says."]
    assert press(page(), 3, "reveal") == ["The answer: There."]


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_no_answer_is_neither_right_nor_wrong(number):
    assert press(page(), number) == [NO_ANSWER]


def test_a_choice_a_text_and_a_place_are_judged_each_by_itself():
    at = page(place=(3, 2))
    at.selectbox(key="answer-c99-1").set_value("b")
    assert press(at, 1) == ["✓ Right. It is b."]
    at.text_input(key="answer-c99-2").set_value(" IBM   taught ")
    assert press(at, 2) == ["✓ Right. It is b.", "✓ Right. As it says."]
    assert press(at, 3)[-1] == "✗ Not yet. (3, 2) is elsewhere."
    at.session_state["place"] = (2, 3)
    assert press(at, 3)[-1] == "✓ Right. There."


def test_a_question_with_other_numbers_begins_anew():
    at = page()
    at.number_input(key="answer-c99-0").set_value(4)
    assert press(at, 0) == ["✓ Right. It is 4."]
    at.session_state["right"] = 5
    at.run()
    assert verdicts(at) == []


@pytest.mark.parametrize(
    ("digits", "answer", "right"),
    [
        (2, 0.817, True),
        (2, 0.82, True),
        (2, 0.81, False),
        (2, 1.05, False),
        (3, 0.8168, True),
        (3, 0.82, False),
    ],
)
def test_a_number_is_right_to_the_digits_that_were_asked_for(digits, answer, right):
    question = Question("?", 1.05 * 14 / 18, "", str, kind="number", digits=digits)
    assert question.is_right(answer) == right


@pytest.mark.parametrize("digits", [0, 1, 2, 3])
def test_what_is_revealed_is_judged_right(digits):
    question = Question("?", 26.894142 if digits else 27, "", str, kind="number", digits=digits)
    assert question.is_right(float(question.answer()))


@pytest.mark.parametrize(
    ("right", "digits", "unit", "shown"),
    [
        (9216, 0, "", "9,216"),
        (0.0, 3, "", "0"),
        (-0.0, 1, "", "0"),
        (0.0004, 3, "", "0.000"),
        (26.894142, 1, "%", "26.9 %"),
        (-1234.5, 2, "nats", "−1,234.50 nats"),
    ],
)
def test_a_number_is_revealed_as_the_pages_write_it(right, digits, unit, shown):
    assert Question("?", right, "", str, kind="number", digits=digits, unit=unit).answer() == shown


def announced(at):
    (component,) = at.get("bidi_component")
    return json.loads(component.proto.json)


def test_who_listens_is_told_the_verdict_that_came_last_and_the_same_one_again():
    at = page()
    assert announced(at) == {"text": "", "turn": 0}
    at.number_input(key="answer-c99-0").set_value(7)
    press(at, 0)
    assert announced(at) == {"text": "✗ Not yet. 7 is too many.", "turn": 1}
    at.selectbox(key="answer-c99-1").set_value("b")
    press(at, 1)
    assert announced(at) == {"text": "✓ Right. It is b.", "turn": 2}
    press(at, 0)
    assert announced(at) == {"text": "✗ Not yet. 7 is too many.", "turn": 3}
