"""The Decoder Explorer: watch small decoder-only transformers being trained and used.

This file is the frame: the server that starts and stops the workers, the settings that all pages share,
and the navigation. Run it with: streamlit run app.py
"""

from __future__ import annotations

import asyncio
import os
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
import torch
from starlette.middleware import Middleware
from streamlit.runtime.pages_manager import PagesManager

from decoder.runs import StoreError, open_store
from decoder.runs.engine import engine
from decoder.training.presets import preset
from pages.ui import session
from pages.ui.headers import KnownHostsOnly, SecurityHeaders
from pages.ui.player import stop_playing
from pages.ui.visitor import NameVisitors

SIDEBAR_PIXELS = 270
ASSETS = Path(__file__).parent / "assets"
# As a part of the page: a file of its own would be gone with the session that a reload ends, and asked for once more.
ICON = "data:image/png;base64," + b64encode((ASSETS / "favicon.png").read_bytes()).decode()


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """Keep the workers as long as the server, and let the first decoder train before anybody comes."""
    # Until somebody has opened the first page, Streamlit would take the folder pages/ for its own old kind
    # of pages, and answer a deep link with "page not found".
    PagesManager.uses_pages_directory = False
    torch.set_num_threads(1)  # small decoders gain nothing by more, and with workers beside them lose tenfold
    try:
        store = await asyncio.to_thread(open_store)
        store.pin(store.request(preset(session.FIRST_CORPUS)))
        workers = engine(store)
    except ValueError as error:
        print(f"The app cannot start: {error}", file=sys.stderr, flush=True)  # noqa: T201  # to who starts it
        os._exit(1)  # the server would print forty lines of its own around the sentence
    with workers:
        yield


def pages() -> dict[str, list[st.Page]]:
    """Return the pages in the lecture's order, by section."""
    return {
        "": [
            st.Page("pages/lecture/start.py", title="Start", icon=":material/play_circle:", default=True),
        ],
        "The lecture": [
            st.Page("pages/lecture/tokens.py", title="Tokens and targets", icon=":material/segment:"),
            st.Page("pages/lecture/embeddings.py", title="Embeddings", icon=":material/barcode:"),
            st.Page("pages/lecture/causal_mask.py", title="Causal mask", icon=":material/grid_on:"),
            st.Page("pages/lecture/attention.py", title="Attention", icon=":material/visibility:"),
            st.Page("pages/lecture/training.py", title="Training", icon=":material/show_chart:"),
            st.Page("pages/lecture/generation.py", title="Generation", icon=":material/edit_note:"),
        ],
    }


def frame() -> None:
    """Draw what all pages share, then the page."""
    # Before the navigation: a page's own icon would be fetched from another host as the tab's icon.
    st.set_page_config(
        page_title="Decoder Explorer",
        page_icon=ICON,
        layout="wide",
        initial_sidebar_state=SIDEBAR_PIXELS,
    )
    page = st.navigation(pages())
    st.html(ASSETS / "app.css")
    if st.session_state.get("page") != page.url_path:
        st.session_state["page"] = page.url_path
        stop_playing()
    try:
        session.choose(with_mode=page.url_path != "training")
        page.run()
    except StoreError as error:
        session.refuse(error)


app = st.App(
    __file__,
    lifespan=lifespan,
    middleware=[Middleware(SecurityHeaders), Middleware(KnownHostsOnly), Middleware(NameVisitors)],
)

if __name__ == "__main__":  # Streamlit runs this very file, under this name, for every visitor
    frame()
