"""A browser has a name of its own, so that who loads a page again is not taken for somebody else."""

import asyncio
import re

import pytest

from pages.ui.visitor import COOKIE, NameVisitors


def headers_sent(content_type, cookie=None, kind="http"):
    """Answer one request through the middleware, and return the headers of the answer."""
    sent = []

    async def app(_scope, _receive, send):
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]}
        await send(start)

    async def send(message):
        sent.append(message)

    asked = [] if cookie is None else [(b"cookie", cookie.encode())]
    asyncio.run(NameVisitors(app)({"type": kind, "path": "/", "headers": asked}, None, send))
    return dict(sent[0]["headers"])


def test_a_new_browser_gets_a_name_that_says_nothing_and_that_no_script_sees():
    first, second = (headers_sent(b"text/html; charset=utf-8")[b"set-cookie"].decode() for _ in range(2))
    assert re.fullmatch(COOKIE + "=[0-9a-f]{32}; Path=/; HttpOnly; SameSite=Strict", first)
    assert first != second


@pytest.mark.parametrize(
    ("content_type", "cookie", "kind"),
    [
        (b"text/html", f"theme=dark; {COOKIE}={32 * 'a'}", "http"),
        (b"text/javascript", None, "http"),
        (b"text/html", None, "websocket"),
    ],
)
def test_nobody_is_named_twice_and_nothing_but_pages_names(content_type, cookie, kind):
    assert b"set-cookie" not in headers_sent(content_type, cookie, kind)
