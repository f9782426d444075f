"""Who may import whom, and what nobody may call: read from the syntax of every file, so the rules grow with the tree."""

import ast
import importlib
import inspect
import sys
import typing
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "decoder").rglob("*.py"))
PAGES = sorted((ROOT / "pages").rglob("*.py"))
APP = [path for path in [ROOT / "app.py"] if path.exists()]
EVERYTHING = [*LIBRARY, *PAGES, *APP]

# Folder of decoder/ -> what its files may import, as module prefixes: lower never imports higher.
BASE = ("decoder.config", "decoder.seeds")
ALLOWED = {
    "config": (),
    "seeds": (),
    "language": BASE,
    "model": BASE,
    "inference": (*BASE, "decoder.model", "decoder.language.tokenizer"),
    "training": (*BASE, "decoder.model", "decoder.language", "decoder.inference.sampling"),
    "runs": (*BASE, "decoder.model", "decoder.language", "decoder.inference", "decoder.training"),
}
FIGURES_DRAW_WITH = {"plotly", "altair", "numpy", "vl_convert"}
APPEARANCE = {"streamlit", "pages", "app"}
CALCULATION = {"torch", "plotly", "altair"}


def module_of(path):
    """Dotted name of a file: decoder/model/__init__.py is decoder.model."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree, module, *, package=False):
    """(module, name or None) of every import in the tree, also inside functions and TYPE_CHECKING blocks."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                home = module.split(".")
                home = home[: len(home) - node.level + package]
                source = ".".join([*home, *([node.module] if node.module else [])])
            found += [(source, alias.name) for alias in node.names]
    return found


def imports_of(path):
    return imported(ast.parse(path.read_text()), module_of(path), package=path.name == "__init__.py")


def whole_name(source, name):
    """The module that is really imported by `from decoder import config`."""
    if name and ((ROOT / source.replace(".", "/") / f"{name}.py").exists() or source in ("decoder", "pages")):
        return f"{source}.{name}"
    return source


def within(module, prefixes):
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def upward(module, imports):
    """Imports of decoder/ that this module of decoder/ is too low for."""
    folder = module.split(".")[1]
    allowed = (*ALLOWED[folder], f"decoder.{folder}")
    names = [whole_name(source, name) for source, name in imports]
    return [name for name in names if within(name, ["decoder"]) and not within(name, allowed)]


def identify(path):
    return str(path.relative_to(ROOT))


def in_the_order(path):
    """The package's own face and the figures have rules of their own."""
    return module_of(path) != "decoder" and not within(module_of(path), ["decoder.figures"])


@pytest.mark.parametrize("path", [*filter(in_the_order, LIBRARY)], ids=identify)
def test_lower_never_imports_higher(path):
    module = module_of(path)
    assert module.split(".")[1] in ALLOWED, "a new folder needs a place in the order"
    assert not upward(module, imports_of(path))


@pytest.mark.parametrize("path", LIBRARY, ids=identify)
def test_the_library_knows_nothing_of_the_app(path):
    assert not [source for source, _ in imports_of(path) if source.split(".")[0] in APPEARANCE]


def test_the_package_itself_imports_no_figures():
    assert not [source for source, _ in imports_of(ROOT / "decoder/__init__.py") if "figures" in source]


def is_type(source, name):
    """Whether an imported name is a class, or an alias of types such as Mode."""
    value = getattr(importlib.import_module(source), name)
    return inspect.isclass(value) or typing.get_origin(value) is not None


@pytest.mark.parametrize("path", [p for p in LIBRARY if p.parent.name == "figures"], ids=identify)
def test_figures_import_types_and_drawing_and_run_nothing(path):
    for source, name in imports_of(path):
        root = source.split(".")[0]
        if within(source, ["decoder.figures"]) or root in sys.stdlib_module_names:
            continue
        if root == "decoder":
            assert name, f"import names from {source}, so that it shows which"
            assert is_type(source, name), f"{source}.{name} is no type"
        else:
            assert root in FIGURES_DRAW_WITH, f"figures need no {root}"


def test_no_page_stands_directly_in_the_pages_folder():
    """Streamlit would run it without app.py when somebody opens a deep link on a fresh server."""
    assert [path.name for path in (ROOT / "pages").glob("*.py") if path.name != "__init__.py"] == []


def illegal_in_a_page(imports):
    """Imports that a page of the lecture or the laboratory may not have."""
    names = [whole_name(source, name) for source, name in imports]
    return [
        name
        for name in names
        if name.split(".")[0] in CALCULATION
        or name.startswith(("streamlit.", "streamlit_", "pages.lecture", "pages.lab"))
        or name == "app"
        or (within(name, ["pages"]) and not within(name, ["pages.ui"]))
    ]


@pytest.mark.parametrize(
    "path", [path for path in PAGES if path.parent.name in ("lecture", "lab")] or [None], ids=str
)
def test_a_page_imports_no_page_no_mathematics_and_no_component(path):
    assert path is None or not illegal_in_a_page(imports_of(path))


@pytest.mark.parametrize("path", [path for path in PAGES if path.parent.name == "ui"] or [None], ids=str)
def test_what_pages_share_imports_no_page(path):
    assert path is None or not [
        s for s, n in imports_of(path) if within(whole_name(s, n), ["pages.lecture", "pages.lab"])
    ]


FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}
FORBIDDEN_CALLS = {
    "torch.load",
    "torch.jit.load",
    "eval",
    "exec",
    "builtins.eval",
    "builtins.exec",
    "__import__",
}
FORBIDDEN_WORDS = {"allow_pickle", "unsafe_allow_html"}


def dangers(text):
    """Forbidden modules, calls and arguments in a file, by the name under which they do harm."""
    tree = ast.parse(text)
    names = {}  # local name -> what it stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    def dotted(node):
        if isinstance(node, ast.Name):
            return names.get(node.id, node.id)
        return (
            f"{inner}.{node.attr}"
            if isinstance(node, ast.Attribute) and (inner := dotted(node.value))
            else ""
        )

    found = [name for name, _ in imported(tree, "x") if name.split(".")[0] in FORBIDDEN_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and dotted(node) in FORBIDDEN_CALLS:
            found.append(dotted(node))
        elif isinstance(node, ast.keyword) and node.arg in FORBIDDEN_WORDS:
            found.append(node.arg)
        elif isinstance(node, ast.Constant) and node.value in FORBIDDEN_WORDS:
            found.append(node.value)
        elif isinstance(node, ast.ImportFrom) and node.module == "torch":
            found += ["torch.load" for alias in node.names if alias.name == "load"]
    return found


@pytest.mark.parametrize("path", EVERYTHING, ids=identify)
def test_nothing_runs_code_from_a_file_or_shows_unsafe_html(path):
    assert not dangers(path.read_text())


# The rules themselves can fail:


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import pickle as innocent",
        "from pickle import loads",
        "def f():\n    import joblib",
        "import torch\ntorch.load('x')",
        "import torch as t\nread = t.load",
        "from torch import load",
        "from torch import load as read",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "np.load('x', **{'allow_pickle': True})",
        "st.markdown('x', unsafe_allow_html=True)",
        "eval('1')",
        "f = exec",
        "import builtins\nbuiltins.eval('1')",
        "__import__('os')",
    ],
)
def test_every_danger_is_found(text):
    assert dangers(text)


@pytest.mark.parametrize(
    "text",
    [
        "model.eval()",
        "import safetensors.torch\nsafetensors.torch.load(b'')",
        "from decoder import load\nload(b'')",
    ],
)
def test_what_only_looks_dangerous_is_left_alone(text):
    assert not dangers(text)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("decoder.config", "from decoder.seeds import generator_for"),
        ("decoder.language.batches", "import decoder.model.decoder"),
        ("decoder.model.decoder", "from decoder.training import trainer"),
        ("decoder.model.decoder", "from decoder.language import Batch"),
        ("decoder.model.decoder", "from decoder import train"),
        ("decoder.model.decoder", "def f():\n    from ..training import trainer"),
        ("decoder.inference.generation", "from decoder.language import Corpus"),
        ("decoder.inference.generation", "from decoder.training.rollout import Rollout"),
        ("decoder.training.trainer", "from decoder.inference.generation import generate"),
        ("decoder.training.trainer", "from decoder.runs import store"),
        ("decoder.training.trainer", "from decoder.figures import style"),
        ("decoder.runs.store", "from decoder.figures import style"),
    ],
)
def test_every_way_upward_is_found(module, text):
    assert upward(module, imported(ast.parse(text), module))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("decoder.model.decoder", "from decoder.config import DecoderConfig\nfrom . import attention"),
        ("decoder.training.rollout", "from decoder.inference.sampling import draw"),
        ("decoder.inference.generation", "from decoder.language.tokenizer import Tokenizer"),
        ("decoder.runs.advance", "from decoder.training.trainer import Trainer\nimport torch"),
    ],
)
def test_what_is_allowed_is_left_alone(module, text):
    assert not upward(module, imported(ast.parse(text), module))


@pytest.mark.parametrize(
    "text",
    [
        "import torch",
        "from torch import Tensor",
        "import plotly.express as px",
        "import altair",
        "from pages.lecture import start",
        "import pages.lab.runs",
        "from pages import lecture",
        "import streamlit.components.v1",
        "from streamlit.components import v1",
        "import streamlit_extras",
        "import app",
        "def f():\n    import torch",
    ],
)
def test_every_forbidden_import_of_a_page_is_found(text):
    assert illegal_in_a_page(imported(ast.parse(text), "pages.lecture.x"))


def test_a_page_may_import_streamlit_the_library_and_what_pages_share():
    text = "import streamlit as st\nfrom decoder import train\nfrom pages.ui import session\nfrom pages.ui.matrix import x"
    assert illegal_in_a_page(imported(ast.parse(text), "pages.lecture.x")) == []


def test_types_are_told_from_functions_and_values():
    assert is_type("decoder.model.decoder", "Trace")
    assert is_type("decoder.config", "Mode")
    assert not is_type("decoder.training.trainer", "train")
    assert not is_type("decoder.config", "MAX_STEPS")
