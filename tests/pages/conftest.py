"""What tests of pages share: a store with trainings of a few updates."""

import dataclasses
import sys

import pytest
import streamlit as st
import torch
from short_trainings import STEPS, quick_evaluate

from decoder.runs import open_store
from decoder.training import presets
from pages.ui import session


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store for all tests of this file, and trainings of a few updates."""
    with pytest.MonkeyPatch.context() as patch:
        short = {
            name: dataclasses.replace(recipe, steps=STEPS, batch_size=2)
            for name, recipe in presets.RECIPES.items()
        }
        patch.setattr(presets, "RECIPES", short)
        patch.setattr(presets, "TEXT_RECIPE", dataclasses.replace(presets.TEXT_RECIPE, steps=STEPS))
        patch.setattr(sys.modules["decoder.runs.advance"], "evaluate", torch.no_grad()(quick_evaluate))
        store = open_store(f"sqlite:///{tmp_path_factory.mktemp('pages') / 'runs.sqlite3'}")
        patch.setattr(session, "open_store", lambda: store)
        st.cache_resource.clear()
        yield store
        st.cache_resource.clear()
        store.close()
