"""Who may see and who may steer: anyone on this machine may look, everything else needs the token.

The token comes with the address that `soar watch` prints, and stays in the browser as a cookie for this site alone.
Programs send it as "Authorization: Bearer TOKEN".
"""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from soar.serving.server import is_foreign, names_this_machine

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Sent with every answer, unless the answer has its own: nothing loads from elsewhere, and no inserted text runs."""


class Access:
    """Middleware that tells pages with the token from those without, and adds `HEADERS`."""

    def __init__(self, app: ASGIApp, token: str, open_here: bool) -> None:
        """Guard an application.

        Args:
            app: the application.
            token: the token.
            open_here: whether looking needs no token, as on this machine alone.
        """
        self._app, self._token, self._open_here = app, token.encode(), open_here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, refuse it with status 401 or 403, or turn the token in its address into a cookie."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        query = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] == "GET" and query and self._is_token(query):
            answer = RedirectResponse(scope["path"], 303)
            answer.set_cookie(
                _cookie_name(headers), query, 30 * 86400, samesite="strict", httponly=True
            )
            await answer(scope, receive, send)
            return
        may_steer = self._is_token(_given(headers))
        scope.setdefault("state", {})["may_steer"] = may_steer
        if refusal := self._refusal(scope, headers, may_steer):
            status, text = refusal
            await JSONResponse({"error": text}, status)(scope, receive, send)
            return
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers, may_steer: bool) -> tuple[int, str] | None:
        if is_foreign(headers):
            return 403, "pages of other origins are refused"
        path = scope["path"]
        if may_steer or path in ("/", "/healthz") or path.startswith("/static/"):
            return None  # nothing of the robots is in these
        if self._open_here and not names_this_machine(headers):
            return 403, "this address isn't the page's; open the one that `soar watch` printed"
        if scope["method"] in ("GET", "HEAD") and self._open_here:
            return None
        return 401, "the token is needed; open the address that `soar watch` printed"

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token)


def _given(headers: Headers) -> str:
    """The token that a request brings; "" without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    cookies = cookie_parser("; ".join(headers.getlist("cookie")))
    return cookies.get(_cookie_name(headers), "")


def _cookie_name(headers: Headers) -> str:
    """Name of the cookie: browsers send those of one host to all of its ports."""
    return f"soar-watch-{headers.get('host', '').rpartition(':')[2] or 80}"


def _with_headers(send: Send) -> Send:
    async def sending(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            given = {bytes(name).lower() for name, _ in message["headers"]}  # type: ignore[attr-defined]
            more = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
            own = [pair for pair in more if pair[0] not in given]
            message = {**message, "headers": [*message["headers"], *own]}  # type: ignore[misc]
        await send(message)

    return sending  # type: ignore[return-value]
