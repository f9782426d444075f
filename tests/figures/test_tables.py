"""Tables: what is taken away is read back as it was, and no spreadsheet takes a text for a formula."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder.figures.tables import Table, to_csv

DANGEROUS = ("=", "+", "-", "@", "\t", "\r")


def read_back(table):
    return list(csv.reader(io.StringIO(to_csv(table), newline="")))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("x")'])
def test_a_text_that_looks_like_a_formula_gets_an_apostrophe(text):
    assert read_back(Table("t", ["a"], [[text]]))[1] == [f"'{text}"]


def test_real_numbers_stay_numbers_with_all_their_digits():
    rows = [[-1.5, 2, 0.1 + 0.2, None]]
    assert read_back(Table("t", list("abcd"), rows))[1] == ["-1.5", "2", "0.30000000000000004", ""]


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_is_written_is_read_back(text, value):
    (_, (found, number)) = read_back(Table("t", ["text", "number"], [[text, value]]))
    assert found == (f"'{text}" if text.startswith(DANGEROUS) else text)
    assert float(number) == value


def test_a_column_name_is_no_formula_either():
    assert read_back(Table("t", ["=cmd"], []))[0] == ["'=cmd"]


def test_a_row_of_another_width_is_refused():
    with pytest.raises(ValueError, match="row 1 of “t” has 1 values for 2 columns"):
        Table("t", ["a", "b"], [["x", 1], ["y"]])


def test_people_read_four_digits_and_a_true_minus_sign():
    table = Table("t", ["a", "b", "c", "d"], [["x", -1.23456, 7, None]])
    assert table.texts == [["x", "−1.235", "7", ""]]
