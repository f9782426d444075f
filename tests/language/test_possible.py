"""What may follow the beginning of a sentence: counted by the grammar, and here among all sentences there are."""

import pytest

from decoder import load_corpus


@pytest.mark.parametrize("name", ["ibm", "story", "count", "alphabet"])
def test_tokens_that_may_follow_are_those_that_follow_in_some_sentence(name):
    grammar = load_corpus(name).grammar
    rows = [row.tolist() for row in grammar.enumerate()[0]]
    lengths = {len([token for token in row if token != grammar.tokenizer.pad]) for row in rows}
    for row in rows[:: max(len(rows) // 5, 1)]:
        for t in range(1, row.index(grammar.tokenizer.eos) + 1):
            alike = [other for other in rows if other[:t] == row[:t]]
            left, ever = grammar.possible(row[:t])
            assert left == len({other[t] for other in alike})
            if len(lengths) == 1:
                assert ever == len({other[t] for other in rows})


def test_the_subject_leaves_three_of_fifteen_objects():
    corpus = load_corpus("ibm")
    ids = [corpus.tokenizer.bos, *corpus.tokenizer.encode("IBM taught me GPT")]
    assert corpus.grammar.possible(ids[:4]) == (3, 15)
    assert corpus.grammar.possible(ids) == (2, 2), "the end, or more"
    assert corpus.grammar.possible(ids[:1]) == (5, 5)
    assert corpus.grammar.possible(ids[1:]) == (0, 0), "no sentence begins so"


def test_of_a_song_the_name_alone_is_left():
    corpus = load_corpus("recall")  # too many sentences to look at them all
    ids = [corpus.tokenizer.bos, *corpus.tokenizer.encode("Ada sings : di fa do di la fa ti re sings")]
    assert corpus.grammar.possible(ids) == (1, 8)
    assert corpus.grammar.possible(ids[:5]) == (9, 9)
