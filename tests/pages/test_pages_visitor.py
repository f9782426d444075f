"""A browser has a name of its own, so that who loads a page again is not taken for somebody else."""

import asyncio
import re

import pytest

from pages.ui.visitor import COOKIE, NameVisitors

PAGE = b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


def headers_sent(accept, cookie=None, kind="http", status=200):
    """Answer one request through the middleware, and return the headers of the answer."""
    sent = []

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def send(message):
        sent.append(message)

    asked = [(b"accept", accept)] + ([] if cookie is None else [(b"cookie", cookie.encode())])
    asyncio.run(NameVisitors(app)({"type": kind, "path": "/", "headers": asked}, None, send))
    return dict(sent[0]["headers"])


def test_a_new_browser_gets_a_name_that_says_nothing_and_that_no_script_sees():
    first, second = (headers_sent(PAGE, status=status)[b"set-cookie"].decode() for status in (200, 304))
    assert re.fullmatch(COOKIE + "=[0-9a-f]{32}; Path=/; HttpOnly; SameSite=Lax", first)
    assert re.fullmatch(COOKIE + "=[0-9a-f]{32}; Path=/; HttpOnly; SameSite=Lax", second)
    assert first != second


@pytest.mark.parametrize(
    ("accept", "cookie", "kind"),
    [(PAGE, f"theme=dark; {COOKIE}={32 * 'a'}", "http"), (b"*/*", None, "http"), (PAGE, None, "websocket")],
)
def test_nobody_is_named_twice_and_nothing_but_pages_names(accept, cookie, kind):
    assert b"set-cookie" not in headers_sent(accept, cookie, kind)
