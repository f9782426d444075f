"""The seven generated corpora: their words, their templates and what depends on what."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from string import ascii_lowercase

from decoder.language.grammar import Form, Grammar, Slot, independent

_SHE = ("Ada", "Grace", "Emmy", "Marie")
_HE = ("Alan", "Niels", "Kurt", "Isaac")
_NAMES = (*_SHE, *_HE)

_ANIMALS = {  # animal: what it eats and what it says
    "fox": ("berries", "yip"),
    "bear": ("honey", "growl"),
    "cat": ("fish", "meow"),
    "owl": ("beetles", "hoot"),
    "frog": ("flies", "ribbit"),
    "mouse": ("cheese", "squeak"),
    "duck": ("bread", "quack"),
    "sheep": ("clover", "baa"),
}

_SUBJECTS = {  # subject: what it can teach
    "IBM": ("GPT", "chess", "Fortran"),
    "NASA": ("gravity", "navigation", "astronomy"),
    "Mozart": ("melody", "rhythm", "harmony"),
    "Darwin": ("evolution", "botany", "biology"),
    "Grandma": ("knitting", "baking", "gardening"),
}
_PRONOUNS = ("me", "you", "us", "them")


def _story() -> Grammar:
    foods, sounds = zip(*_ANIMALS.values(), strict=True)
    slots = independent(
        ADJ=("tiny", "brave", "clever", "sleepy", "happy", "gentle"),
        ANIMAL=tuple(_ANIMALS),
        NAME=_NAMES,
        PLACE=("forest", "garden", "meadow", "valley", "village"),
    ) | {
        "PRON": Slot(["she" if name in _SHE else "he" for name in _NAMES], by=["NAME"]),
        "FOOD": Slot(foods, by=["ANIMAL"]),
        "SOUND": Slot(sounds, by=["ANIMAL"]),
    }
    beginning = "a ADJ ANIMAL named NAME lived in the PLACE ."
    template = f"{beginning} one day PRON ate FOOD . then NAME the ANIMAL said SOUND ."
    return Grammar(Form(template, slots), question_length=len(["<s>", *beginning.split()]))


def _ibm(weights: tuple[float, ...]) -> Grammar:
    """Sentences with 0, 1, ... clauses after the object, with these probabilities."""
    slots = independent(SUBJ=tuple(_SUBJECTS), VERB=("taught", "showed", "brought"), PRON=_PRONOUNS)
    slots["OBJ"] = Slot(tuple(_SUBJECTS.values()), by=["SUBJ", "OBJ"])
    template, forms = "SUBJ VERB PRON OBJ", []
    for clauses, weight in enumerate(weights, start=1):
        forms.append(Form(template, dict(slots), weight))
        template += f" letting PRON{clauses} DO{clauses} it"
        slots |= independent(**{f"PRON{clauses}": _PRONOUNS, f"DO{clauses}": ("enjoy", "explore", "share")})
    return Grammar(*forms, question_length=3)


def _alphabet() -> Grammar:
    slots = {
        f"L{i}": Slot([*ascii_lowercase[i:], *ascii_lowercase[:i]], by=["L0"])  # the alphabet, turned by i
        for i in range(12)
    }
    return Grammar(Form(f"letters from {' '.join(slots)}", slots, prompt_length=4))


def _count() -> Grammar:
    steps = {"ones": 1, "twos": 2, "threes": 3}
    slots = independent(STEP=tuple(steps), N0=[str(start) for start in range(50)])
    for i in range(1, 10):
        numbers = [[str((start + i * step) % 50) for start in range(50)] for step in steps.values()]
        slots[f"N{i}"] = Slot(numbers, by=["STEP", "N0"])
    template = f"count STEP from {' '.join(f'N{i}' for i in range(10))}"
    return Grammar(Form(template, slots, prompt_length=5))


def _recall() -> Grammar:
    notes = ("do", "re", "mi", "fa", "so", "la", "ti", "da", "di")
    song = [f"W{i}" for i in range(8)]
    slots = independent(NAME=_NAMES, **dict.fromkeys(song, notes))
    name, note = math.log(len(_NAMES)), math.log(len(notes))

    def entropies(start: int) -> list[float]:
        asked = 0.0 if start >= 2 else name  # the name is token 1: known as soon as two tokens are true
        return [name, 0.0, 0.0, *[note] * len(song), 0.0, asked, 0.0]

    template = f"NAME sings : {' '.join(song)} sings NAME"
    return Grammar(Form(template, slots), question_length=13, closed_form=entropies)


def _reverse() -> Grammar:
    def form(length: int) -> Form:
        letters = [f"C{i}" for i in range(length)]
        template = " ".join([*letters, "backwards", *reversed(letters)])
        slots = independent(**dict.fromkeys(letters, tuple("abcdefghij")))
        return Form(template, slots, weight=1 / 4, prompt_length=length + 2)

    # The prompt decides everything that is scored, and it always stays true: nothing is left to chance.
    return Grammar(*map(form, range(5, 9)), closed_form=lambda _: [0.0] * 18)


GRAMMARS: Mapping[str, Callable[[], Grammar]] = {
    "ibm": lambda: _ibm((1 / 2, 1 / 2)),
    "story": _story,
    "ibm-long": lambda: _ibm((1 / 2, 1 / 4, 1 / 8, 1 / 8)),
    "alphabet": _alphabet,
    "count": _count,
    "recall": _recall,
    "reverse": _reverse,
}
