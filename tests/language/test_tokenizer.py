import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.language import BytePairTokenizer, CharacterTokenizer, WordTokenizer, clean, load_corpus
from decoder.language.tokenizer import MAX_BYTE_PAIRS, MAX_WORDS

ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text(
    "e\u0301\ud83d\ude00\x00\r\n\t\u202e \u2066a"
)
KINDS = [WordTokenizer, CharacterTokenizer, BytePairTokenizer]
BYTE_PAIRS = BytePairTokenizer.from_text("the cat sat on the mat with the hat 😀 déjà vu " * 5)


@given(ANY_TEXT)
def test_clean_text_is_stable_composed_and_free_of_dangerous_characters(text):
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert all(c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cs"} for c in cleaned)
    assert not set(cleaned) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned


def test_cleaning_replaces_surrogates_composes_accents_and_keeps_line_ends():
    assert clean("a\ud800b") == "a\ufffdb"
    assert clean("e\x00\u0301") == "é"
    assert clean("a\r\nb\rc\td\u202e") == "a\nb\nc\td"


@given(ANY_TEXT)
def test_characters_round_trip(text):
    tokenizer = CharacterTokenizer.from_text(text)
    assert tokenizer.decode(tokenizer.encode(text)) == clean(text)
    assert tokenizer.tokens == tuple(sorted(set(clean(text))))


@given(ANY_TEXT)
def test_byte_pairs_round_trip_on_text_they_have_never_seen(text):
    assert BYTE_PAIRS.decode(BYTE_PAIRS.encode(text)) == clean(text)


@given(ANY_TEXT | st.text("ab '.<s>"), st.data())
def test_words_round_trip_from_ids(text, data):
    tokenizer = WordTokenizer.from_text(text)
    if tokenizer.vocab_size:
        ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=8))
        assert tokenizer.encode(tokenizer.decode(ids)) == ids
    assert tokenizer.vocab_size == len(set(tokenizer.encode(text)))


@given(st.lists(st.integers(0, 58), max_size=30))
def test_the_words_of_a_corpus_round_trip_from_ids_special_tokens_included(ids):
    tokenizer = load_corpus("story").tokenizer
    assert tokenizer.encode(tokenizer.decode(ids)) == ids
    assert tokenizer.encode(tokenizer.decode(ids, skip_specials=True)) == [i for i in ids if i > 2]


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_exist_only_where_they_are_asked_for(kind):
    plain = kind.from_text("<s> a b c </s>")
    assert (plain.pad, plain.bos, plain.eos, plain.unknown, plain.specials) == (None, None, None, None, ())
    assert len(plain.encode("<s>")) > 1
    special = kind.from_text("<s> a b c </s>", ("<s>", "</s>"))
    assert (special.pad, special.bos, special.eos, special.unknown) == (None, 0, 1, None)
    assert special.tokens[:2] == ("<s>", "</s>")
    ids = special.encode("<s> a b c </s>")
    assert (ids[0], ids[-1]) == (0, 1)
    assert special.decode(ids) == "<s> a b c </s>"
    assert special.decode(ids, skip_specials=True).strip() == "a b c"


def test_the_least_frequent_words_become_unknown_only_where_there_are_too_many():
    words = " ".join(f"w{i} w{i}" for i in range(MAX_WORDS))
    assert WordTokenizer.from_text(words).unknown is None
    tokenizer = WordTokenizer.from_text(words + " rare")
    assert tokenizer.unknown == 0
    assert tokenizer.tokens[:2] == ("<unk>", "w0")
    assert tokenizer.vocab_size == MAX_WORDS + 1
    assert tokenizer.decode(tokenizer.encode("w5 rare never")) == "w5 <unk> <unk>"


def test_words_and_punctuation_are_separate_tokens_of_a_pasted_text():
    tokenizer = WordTokenizer.from_text("Don't stop, it’s fun!")
    assert tokenizer.tokens == ("Don't", "stop", ",", "it’s", "fun", "!")


def test_marks_and_joiners_stay_with_the_sign_they_belong_to():
    tokenizer = WordTokenizer.from_text("नमस्ते दुनिया 👩‍👩‍👧 ❤️ e\u0301te\u0301")
    assert {*tokenizer.tokens} == {"नमस्ते", "दुनिया", "👩‍👩‍👧", "❤️", "été"}


@settings(max_examples=200)
@given(st.one_of(st.text(max_size=60), st.text("aé\u0301नमस्ते 👩\u200d👧❤\ufe0f'’.\ud800\n", max_size=60)))
def test_words_give_any_text_back_but_for_its_spaces(text):
    tokenizer = WordTokenizer.from_text(text)
    back = tokenizer.decode(tokenizer.encode(text))
    assert "".join(back.split()) == "".join(clean(text).split())


def test_unknown_words_are_named_with_the_closest_known_ones():
    tokenizer = load_corpus("ibm").tokenizer
    with pytest.raises(ValueError, match=r"'tought', 'ibm' are not among the 32 words .* mean taught, IBM\?"):
        tokenizer.encode("tought ibm me GPT")
    with pytest.raises(ValueError, match=r"'v', 'w', 'x' and 2 more .* use IBM"):
        tokenizer.encode("v w x y z")
    with pytest.raises(ValueError, match="'z' is not among the 3 characters"):
        CharacterTokenizer.from_text("abc").encode("az")


@pytest.mark.parametrize("kind", KINDS)
def test_ids_outside_the_vocabulary_are_refused(kind):
    tokenizer = kind.from_text("a b")
    for wrong in (-1, tokenizer.vocab_size):
        with pytest.raises(
            ValueError, match=f"no token {wrong}: use the ids 0 to {tokenizer.vocab_size - 1}"
        ):
            tokenizer.decode([wrong])


@settings(max_examples=10)
@given(st.text("ab 😀", max_size=200))
def test_byte_pairs_are_learned_deterministically_from_a_full_alphabet(text):
    first, second = BytePairTokenizer.from_text(text), BytePairTokenizer.from_text(text)
    assert first.tokens == second.tokens
    assert 256 <= first.vocab_size <= MAX_BYTE_PAIRS
    assert first.encode(text) == second.encode(text)


def test_byte_pairs_shorten_the_text_and_show_readable_tokens():
    assert " the" in BYTE_PAIRS.tokens
    assert " 😀" in BYTE_PAIRS.tokens
    assert r"\xe2" in BYTE_PAIRS.tokens
    assert len(BYTE_PAIRS.encode("the cat sat")) == 3
