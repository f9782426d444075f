"""Who looks: a name for a browser that says nothing about the person."""

from __future__ import annotations

import re
import uuid

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "decoder_explorer_viewer"
NAME = re.compile("[0-9a-f]{32}")


def viewer() -> str:
    """Return who looks: the same after a reload and in every tab; a new one per session where cookies are refused."""
    named = str(st.context.cookies.get(COOKIE, ""))
    return named if NAME.fullmatch(named) else str(st.session_state.setdefault("viewer", uuid.uuid4().hex))


class NameVisitors:
    """ASGI middleware that names a browser by a cookie, until it is closed; no script and no other host sees it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and a page back with a name if its reader has none yet."""

        async def send_with_name(message: Message) -> None:
            if message["type"] == "http.response.start":
                name = f"{COOKIE}={uuid.uuid4().hex}; Path=/; HttpOnly; SameSite=Lax"
                MutableHeaders(scope=message).append("Set-Cookie", name)
            await send(message)

        nameless = scope["type"] == "http" and _asks_for_a_page(HTTPConnection(scope))
        await self._app(scope, receive, send_with_name if nameless else send)


def _asks_for_a_page(request: HTTPConnection) -> bool:
    """Whether a browser without a name asks for a page; the answer may be that the page it has is still good."""
    return "text/html" in request.headers.get("accept", "") and COOKIE not in request.cookies
