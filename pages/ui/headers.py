"""Security at the door: who may ask at all, and headers by which a browser talks to this host only."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

HEADERS = {
    # Streamlit's own front end needs inline styles, blob workers and data pictures; plotly and vega evaluate.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
        "frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
}


class SecurityHeaders:
    """ASGI middleware that adds the headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and the answer back with its headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class KnownHostsOnly:
    """ASGI middleware that refuses whoever calls this server by a name that `server.allowedHosts` does not have.

    Streamlit itself asks for the name only where a websocket begins. A page of another name that points here (DNS
    rebinding), or that lies on another host, gets nothing at all.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with 403."""
        if scope["type"] == "lifespan" or _is_known(Headers(scope=scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it was accepted: the answer is 403
        else:
            refusal = "This server is not known by that name: see server.allowedHosts in the README.\n"
            await PlainTextResponse(refusal, status_code=403)(scope, receive, send)


def _is_known(headers: Headers) -> bool:
    origin = headers.get("origin")
    return is_host_allowed(headers.get("host")) and (
        origin is None or is_host_allowed(urlsplit(origin).netloc)
    )
