"""What tests read from a page that AppTest has drawn: its pictures in their order, their numbers, every word that it says."""

import json
import re

from pages.ui import aids, glossary

KEY = re.compile(r"^\$\$ID-[0-9a-f]+-(.*)$", re.DOTALL)
NO_PICTURES = ("said-", "glossary")
# What the lecture calls things, as words of their own: x, x̂, p, ω, z, h, with an index or without.
SYMBOL = re.compile(r"(?<!\w)[xpωzh]\u0302?(?:⁽[⁰-⁹¹²³]+⁾)?[₀-₉]*(?!\w)")
# "arrow keys" are no keys of the attention.
OTHER_WORDS = re.compile(r"arrow keys", re.IGNORECASE)


def key_of(node):
    """The Streamlit key of an element or a container; nothing if it has none."""
    found = KEY.match(getattr(getattr(node, "proto", None), "id", "") or "")
    return found[1] if found else ""


def walk(node, within=()):
    """Every element of a part of the page, from top to bottom, with the keys of the containers around it."""
    for child in getattr(node, "children", {}).values():
        yield child, within
        yield from walk(child, (*within, key_of(child)))


def pictures_and_numbers(at):
    """Keys of the pictures, each as ("picture", key), and of what offers numbers, as ("numbers", key), in their order."""
    found = []
    for node, within in walk(at.main):
        key = key_of(node)
        if node.type == "vega_lite_chart":
            found.append(("picture", within[-1]))
        elif node.type == "bidi_component" and not key.startswith(NO_PICTURES) and not key.endswith(" sheet"):
            found.append(("picture", key))
        elif node.type == "expander" and key.endswith(" numbers"):
            found.append(("numbers", key.removesuffix(" numbers")))
    return found


def recorded(monkeypatch):
    """What a page offers under its pictures, key -> (table, functions whose code is shown), filled as it is drawn."""
    offered, numbers = {}, aids.numbers

    def record(table, *, key, code=(), figure=None):
        offered[key] = (table() if callable(table) else table, code)
        numbers(table, key=key, code=code, figure=figure)

    monkeypatch.setattr(aids, "numbers", record)
    return offered


def sent(at, key):
    """What the component under a key was given."""
    (found,) = [node for node, _ in walk(at.main) if node.type == "bidi_component" and key_of(node) == key]
    return json.loads(found.proto.json)


def strings(value):
    """All texts in JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


def said(node):
    """What an element says: its text, its label and help, its options, the texts of a picture."""
    proto = getattr(node, "proto", None)
    if node.type == "bidi_component":
        yield from strings(json.loads(proto.json or "{}"))
    else:
        for name in ("value", "label", "help", "placeholder"):
            text = getattr(node, name, None)
            if isinstance(text, str):
                yield text
        yield from getattr(node, "options", [])


def words_of(at, but=("glossary",)):
    """Every text of the page, but for elements and containers whose keys begin so: the glossary.

    The switch of the notation names the symbols, and is left out too.
    """
    return [
        text
        for node, within in walk(at.main)
        if not any(key.startswith(but) for key in (*within, key_of(node))) and key_of(node) != "notation"
        for text in said(node)
    ]


def terms_in(texts):
    """Terms of the glossary that stand in these texts as words, the longest first: "start token" is not "token"."""
    whole, found = OTHER_WORDS.sub("", "\n".join(texts)), set()
    for term in sorted(glossary.TERMS, key=len, reverse=True):
        pattern = re.compile(rf"\b{re.escape(term)}(?:s|es)?\b", re.IGNORECASE)
        if pattern.search(whole):
            found.add(term)
            whole = pattern.sub("", whole)
    return found


def terms_offered(at):
    """Terms that the page's glossary explains."""
    return set(sent(at, "glossary")["terms"])
