"""What is spelled out can be recomputed: from the printed numbers come the printed results, to their last digit."""

import math
import re

import pytest
import torch

from decoder import Decoder, DecoderConfig
from decoder.figures.embedding_words import sum_sentence
from decoder.figures.target_words import loss_arithmetic
from decoder.figures.words import mask_arithmetic, number, score_arithmetic, weight_arithmetic
from decoder.model.arithmetic import cell_arithmetic
from decoder.training.reading import target_arithmetic

PLAIN = str.maketrans("−⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "--0123456789")


def value(printed):
    """What a printed number says: "−1.5·10⁻⁴" is -0.00015."""
    return float(printed.translate(PLAIN).replace("·10", "e"))


def digits(printed):
    factor = printed.split("·")[0].lstrip("−").replace(".", "").lstrip("0")
    return len(factor)


def same(exact, printed):
    """Whether a number, printed with as many digits, reads the same; trailing zeros are not printed."""
    return any(number(exact, count) == printed for count in range(max(digits(printed), 1), 13))


@pytest.fixture(scope="module", params=[(8, 2), (64, 4)], ids=str)
def block(request):
    d_model, n_heads = request.param
    model = Decoder(
        DecoderConfig(vocab_size=40, context_length=12, n_layers=1, n_heads=n_heads, d_model=d_model), seed=3
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)  # scores as large as those of a trained decoder
        return model.trace(torch.arange(12)[None]).blocks[0]


PLACES = [(row, column) for row in range(12) for column in range(row + 1)]


def test_a_score_follows_from_the_printed_numbers(block):
    for row, column in PLACES:
        _, products, dot, score = score_arithmetic(
            cell_arithmetic(block, 1, row, column), row, column
        ).splitlines()
        pairs = re.findall(r"\(([^()]+)\)·\(([^()]+)\)", products)
        assert len(pairs) == block.query.shape[-1]
        printed_dot, divisor = dot.removeprefix("= ").split(" / ")
        assert same(math.fsum(value(q) * value(k) for q, k in pairs), printed_dot)
        assert value(divisor) == pytest.approx(math.sqrt(len(pairs)), rel=1e-6)
        assert same(value(printed_dot) / value(divisor), score.removeprefix("= "))
        assert value(score.removeprefix("= ")) == pytest.approx(
            block.attention.scores[0, 1, row, column].item(), rel=1e-2
        )


def test_a_weight_follows_from_the_printed_numbers(block):
    for row, column in PLACES:
        cell = cell_arithmetic(block, 1, row, column)
        powers, quotient, weight = weight_arithmetic(cell, row, column).splitlines()
        above, below = re.search(r"= (e\^\S+) / \((.+?)\)", powers).groups()
        exponents = re.findall(r"e\^([^ )]+)", below)
        assert len(exponents) == row + 1
        power, total = quotient.removeprefix("= ").split(" / ")
        assert same(math.exp(value(above.removeprefix("e^"))), power)
        assert same(math.fsum(math.exp(value(exponent)) for exponent in exponents), total)
        assert same(value(power) / value(total), weight.removeprefix("= "))
        masked = mask_arithmetic(cell, row, column).split("= ")[1].split(", ")[0]
        assert value(masked) == pytest.approx(value(above.removeprefix("e^")), rel=1e-6)


def test_a_closed_cell_weighs_nothing(block):
    lines = weight_arithmetic(cell_arithmetic(block, 1, 2, 5), 2, 5).splitlines()
    assert lines[0].startswith("weight(2, 5) = e^−∞ / (")
    assert lines[1].startswith("= 0 / ")
    assert lines[2] == "= 0"


def test_a_loss_follows_from_the_printed_numbers():
    generator = torch.Generator().manual_seed(0)
    for scale in (0.1, 3, 10, 25):
        for _ in range(50):
            logits = scale * torch.randn(35, generator=generator)
            for target in (int(logits.argmax()), 3):
                _, difference, loss, share = loss_arithmetic(
                    target_arithmetic(logits, target), "me", "z₁", 35
                ).splitlines()
                total, logit = difference.removeprefix("= ").split(" − ")
                printed = loss.removeprefix("= ").removesuffix(" nats")
                assert number(value(total) - value(logit.strip("()"))) == printed
                assert f"e^−{printed} = " in share


def test_a_sum_follows_from_the_printed_numbers():
    for x, p in torch.randn(300, 2, generator=torch.Generator().manual_seed(1)).mul(0.1).tolist():
        said = sum_sentence("me", 3, x, p, x + p, has_positions=True)
        first, sign, second, total = re.search(r"one is (\S+) ([+−]) (\S+) = (\S+)\. ", said).groups()
        assert number(value(first) + value(f"{sign}{second}")) == total
        assert value(total) == pytest.approx(x + p, rel=1e-2)
