"""The first page without a browser."""

import pytest
from reading_pages import terms_in, terms_offered, words_of
from short_trainings import train, visit

from decoder.training.presets import preset

pytestmark = pytest.mark.usefixtures("store")


def test_every_word_of_the_glossary_is_explained_where_it_is_used(store):
    train(store, preset("ibm"))
    at = visit("start")
    code = {block.value for block in at.code}
    said = [text for text in words_of(at) if text not in code]
    assert terms_in(said) - terms_offered(at) == set()
    assert {"nats", "teacher forcing", "layer", "head", "width"} <= terms_offered(at)
