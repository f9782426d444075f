"""Checkpoints: what was saved comes back to the bit, everything else is one ValueError and no allocation."""

import json
import pickle  # noqa: TID251  the evil file of the test
import random
import struct
import zipfile
from dataclasses import asdict
from io import BytesIO

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder import Decoder, DecoderConfig, load, save
from decoder.model import checkpoint

CONFIG = DecoderConfig(vocab_size=6, context_length=5, n_layers=1, n_heads=2, d_model=4)
FILE = save(Decoder(CONFIG, seed=7))


def split(file):
    """Header (a dict) and payload of a safetensors file."""
    (size,) = struct.unpack("<Q", file[:8])
    return json.loads(file[8 : 8 + size]), file[8 + size :]


def join(header, payload):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


def with_config(change, file=FILE):
    """The file with some fields of its configuration replaced."""
    header, payload = split(file)
    config = json.loads(header["__metadata__"]["config"]) | change
    header["__metadata__"]["config"] = json.dumps(config)
    return join(header, payload)


def with_weights(change):
    """A file whose weights went through `change` (a function of the state dict)."""
    weights = dict(Decoder(CONFIG).state_dict())
    change(weights)
    metadata = {"config": json.dumps(asdict(CONFIG))}
    return safetensors.torch.save(weights, metadata=metadata)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
@pytest.mark.parametrize("causal", [True, False])
def test_a_saved_decoder_comes_back_bit_identical(positions, causal):
    config = DecoderConfig(9, 6, n_layers=2, n_heads=2, d_model=8, positions=positions, causal=causal)
    model = Decoder(config, seed=11)
    back = load(save(model))
    assert back.config == config
    assert back.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(back.state_dict()[name], value) for name, value in model.state_dict().items())
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(back(tokens), model(tokens))
    assert save(back) == save(model)


def test_a_loaded_decoder_owns_its_weights_and_can_be_trained():
    model = load(FILE)
    model(torch.tensor([[1, 2]])).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_largest_decoder_within_the_limits_fits_into_a_file():
    config = DecoderConfig(2_000, 256, n_layers=8, n_heads=4, d_model=128)
    assert load(save(Decoder(config))).config == config


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def evil_files():
    pickled = pickle.dumps(Evil())
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("archive/data.pkl", pickled)
        zipped.writestr("archive/data/0", bytes(2**20))
    torch_file = BytesIO()
    torch.save(Decoder(CONFIG).state_dict(), torch_file)
    return {"pickle": pickled, "zip": archive.getvalue(), "torch.save": torch_file.getvalue()}


@pytest.mark.parametrize("kind", ["pickle", "zip", "torch.save"])
def test_a_pickle_or_an_archive_is_refused_and_never_run(kind):
    with pytest.raises(ValueError, match=r"file|header"):
        load(evil_files()[kind])


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, len(FILE) // 2, len(FILE) - 1])
def test_a_truncated_file_is_refused(length):
    with pytest.raises(ValueError, match="safetensors"):
        load(FILE[:length])


def test_every_truncation_is_refused():
    for length in range(0, len(FILE), 7):
        with pytest.raises(ValueError, match=r"."):
            load(FILE[:length])


def test_bytes_after_the_end_are_refused():
    with pytest.raises(ValueError, match="safetensors"):
        load(FILE + b"\0")


@pytest.mark.parametrize("claim", [65_537, 100_000_000, 2**63, 2**64 - 1])
def test_a_header_that_claims_too_much_is_refused_with_both_numbers(claim):
    with pytest.raises(ValueError, match="at most 65,536") as error:
        load(struct.pack("<Q", claim) + FILE[8:])
    assert f"{claim:,}" in str(error.value)


def test_a_file_above_the_size_limit_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="16,777,217 bytes; at most 16,777,216"):
        load(bytes(2**24 + 1))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda w: w.pop("output.weight"), "output.weight"),
        (lambda w: w.update(extra=torch.zeros(1)), "extra"),
        (lambda w: w.update({"output.weight": torch.zeros(4, 6)}), r"output.weight is \(4, 6\).*\(6, 4\)"),
        (lambda w: w.update({"output.weight": torch.zeros(24)}), r"output.weight is \(24,\)"),
        (lambda w: w.update({"final_norm.bias": torch.zeros(4).double()}), "float64.*float32"),
        (lambda w: w.update({"final_norm.bias": torch.zeros(4).bfloat16()}), "bfloat16.*float32"),
        (lambda w: w.update({"final_norm.bias": torch.zeros(4, dtype=torch.int32)}), "int32.*float32"),
        (lambda w: w.update({"final_norm.bias": torch.tensor([0, 0, torch.nan, 0])}), "not finite"),
        (lambda w: w.update({"token_table.weight": torch.full((6, 4), torch.inf)}), "not finite"),
        (lambda w: w.update({"token_table.weight": torch.full((6, 4), -torch.inf)}), "not finite"),
        (lambda w: w.clear(), "another decoder|larger than the file"),
    ],
    ids=[
        "missing",
        "extra",
        "transposed",
        "flat",
        "double",
        "bfloat16",
        "int",
        "nan",
        "inf",
        "-inf",
        "empty",
    ],
)
def test_weights_of_another_decoder_are_refused_by_name(change, named):
    with pytest.raises(ValueError, match=named):
        load(with_weights(change))


COLUMNS_OF_16_BYTES = (
    dict.fromkeys(("F64", "I64", "U64", "C64"), 2)
    | dict.fromkeys(("I32", "U32"), 4)
    | dict.fromkeys(("F16", "BF16", "I16", "U16"), 8)
    | dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 16)
    | {"F4": 32, "F6_E2M3": 21, "F6_E3M2": 21, "X": 4, "": 4}
)


@pytest.mark.parametrize("name", COLUMNS_OF_16_BYTES)
def test_a_tensor_of_any_other_type_and_fitting_size_is_refused(name):
    header, payload = split(FILE)
    header["final_norm.bias"] |= {"dtype": name, "shape": [COLUMNS_OF_16_BYTES[name]]}
    with pytest.raises(ValueError, match=r"safetensors|final_norm.bias"):
        load(join(header, payload))


HEADERS = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"\xff\xfe\xfd",
    b'{"__metadata__": null}',
    b'{"__metadata__": []}',
    b'{"__metadata__": {"config": 3}}',
    b'{"__metadata__": {"config": "["}}',
    b'{"__metadata__": {"config": "[]"}}',
    b'{"__metadata__": {"config": "{}"}}',
    b'{"__metadata__": {"config": "NaN"}}',
    b"[" * 60_000,
    b'{"a":' * 12_000,
    b'{"__metadata__": {"config": "' + b"[" * 60_000 + b'"}}',
    b'{"__metadata__": {"config": "' + b"9" * 60_000 + b'"}}',
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[:40].decode("latin1"))
def test_a_header_that_is_not_ours_is_refused(header):
    with pytest.raises(ValueError, match="file"):
        load(join(header, split(FILE)[1]))


HUGE = [
    {"context_length": 50_000_000},
    {"context_length": 10**18},
    {"context_length": 60_000, "positions": "none"},
    {"context_length": 60_000, "positions": "sinusoidal"},
    {"vocab_size": 10**9},
    {"vocab_size": 10**400},
    {"d_model": 4096, "n_layers": 64},
    {"d_model": 10**30, "n_heads": 1},
    {"n_layers": 10**9},
    {"n_layers": 5_000},
    {"n_heads": 10**9, "d_model": 10**9},
]


@pytest.mark.parametrize("change", HUGE, ids=str)
def test_a_configuration_that_is_larger_than_its_file_is_refused_before_anything_is_allocated(
    change, monkeypatch
):
    monkeypatch.setattr(checkpoint, "Decoder", lambda *_: pytest.fail("a decoder was built"))
    with pytest.raises(ValueError, match=r"decoder|positions"):
        load(with_config(change))


def test_more_metadata_than_save_writes_is_refused():
    header, payload = split(FILE)
    config = header["__metadata__"]["config"]
    for metadata in (
        {"config": config, "note": "mine"},
        {"config": config[:-1] + ', "vocab_size": 6}'},
        {"config": config + " "},
    ):
        with pytest.raises(ValueError, match="more than its configuration"):
            load(join(header | {"__metadata__": metadata}, payload))


def test_a_decoder_in_double_precision_is_not_saved():
    with pytest.raises(
        ValueError, match=r"torch.float64 and a file holds torch.float32: use model.float\(\)"
    ):
        save(Decoder(DecoderConfig(6, 3, 1, 1, 4)).double())


def test_a_large_payload_does_not_buy_a_large_mask_or_thousands_of_layers(monkeypatch):
    monkeypatch.setattr(checkpoint, "Decoder", lambda *_: pytest.fail("a decoder was built"))
    padded = FILE + bytes(15 * 2**20)
    for change in (
        {"context_length": 900_000, "d_model": 2, "n_heads": 1},
        {"context_length": 900_000, "positions": "none"},
        {"n_layers": 20_000, "d_model": 2, "n_heads": 1},
    ):
        with pytest.raises(ValueError, match=r"decoder|context"):
            load(with_config(change, padded))


@pytest.mark.parametrize(
    "change",
    [
        {"vocab_size": 7},
        {"context_length": 4},
        {"n_layers": 2},
        {"d_model": 8},
        {"d_model": 3},
        {"n_heads": 3},
        {"n_heads": 0},
        {"vocab_size": -6},
        {"vocab_size": 6.0},
        {"vocab_size": "6"},
        {"vocab_size": None},
        {"vocab_size": True},
        {"vocab_size": [6]},
        {"d_model": 1e300},
        {"d_model": float("nan")},
        {"n_layers": float("inf")},
        {"positions": "none"},
        {"positions": "rotary"},
        {"positions": ["learned"]},
        {"positions": None},
        {"causal": "yes"},
        {"causal": None},
        {"causal": 1},
        {"causal": []},
        {"seed": 0},
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_the_weights_is_refused(change):
    with pytest.raises(ValueError, match=r"."):
        load(with_config(change))


def test_a_missing_field_of_the_configuration_is_refused():
    header, payload = split(FILE)
    config = json.loads(header["__metadata__"]["config"])
    for field in config:
        header["__metadata__"]["config"] = json.dumps({key: config[key] for key in config if key != field})
        with pytest.raises(ValueError, match="exactly the fields"):
            load(join(header, payload))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from([*asdict(CONFIG), "extra"]),
        JSON | st.integers(1, 12) | st.integers(10**6, 10**12) | st.sampled_from(["none", "sinusoidal"]),
        min_size=1,
        max_size=3,
    )
)
def test_any_configuration_is_refused_or_gives_a_decoder_of_finite_weights(change):
    loads_or_refuses(with_config(change))


def loads_or_refuses(file):
    """Whether the file loads; anything but a decoder of finite weights or one ValueError fails the test."""
    try:
        model = load(file)
    except ValueError as error:
        assert str(error)
        return False
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    return True


def mutate(file, chance):
    """Flip, replace, insert, delete or repeat some bytes; half of the time in the header."""
    data = bytearray(file)
    header = 8 + struct.unpack("<Q", file[:8])[0]
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        place = chance.randrange(min(len(data), header) if chance.random() < 0.5 else len(data))
        match chance.randrange(6):
            case 0:
                data[place] ^= 1 << chance.randrange(8)
            case 1:
                data[place] = chance.randrange(256)
            case 2:
                data[place] = chance.choice(b'0123456789"{}[]:,-e.')
            case 3:
                data.insert(place, chance.randrange(256))
            case 4:
                del data[place]
            case 5:
                data[place:place] = data[place : place + chance.randrange(1, 64)]
    return bytes(data)


@pytest.mark.timeout(120)
def test_twenty_thousand_damaged_files_are_refused_or_give_finite_weights():
    chance = random.Random(2017)
    loaded = sum(loads_or_refuses(mutate(FILE, chance)) for _ in range(20_000))
    assert 0 < loaded < 20_000  # flipped bits of the payload do load: weights are only numbers
