"""Access control: requests of this machine's browser, or with the token; all others are refused here."""

import asyncio
import hmac
import logging
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "noduleclip"
TOKEN = "token"  # noqa: S105 - a name, not one
FAILED = "the server has failed at this; its terminal says more"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_ALONE = {"document", "empty", "image", "script", "style", "manifest", "font"}  # what Sec-Fetch-Dest may say here
_LOG = logging.getLogger("uvicorn.error")


@dataclass(frozen=True)
class Guard:
    """Middleware that refuses foreign requests and sets the same strict headers on every answer.

    Attributes:
        app: The guarded application.
        hosts: Names and addresses, in lower case, under which a browser may know this server. Any other is refused:
            a page of another site whose name was made to point here would have that name.
        token: Secret that a request must have; None where only this machine can connect.
        session: Value of the cookie that the token is exchanged for; independent of the token, and valid until the
            server ends.
    """

    app: ASGIApp
    hosts: frozenset[str]
    token: str | None = None
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']}: this server speaks HTTP only")
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refuse(scope)
        if refusal is not None:
            await refusal(scope, receive, send_guarded)
            return
        try:
            await self.app(scope, receive, send_guarded)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a panic of a library written in Rust is no Exception
            if started:
                raise
            _LOG.exception("Exception in ASGI application\n")
            await JSONResponse({"error": FAILED}, 500)(scope, receive, send_guarded)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers and "content-length" in headers:  # a proxy may take another end for the body
            reason = "A request has Content-Length or Transfer-Encoding, not both."
            return PlainTextResponse(reason, 400, headers={"Connection": "close"})
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name_of(hosts[0]) not in self.hosts:
            return PlainTextResponse("This server is not known by that name; see --allow-host.", 421)
        if _is_foreign(scope, headers, hosts[0]):
            return PlainTextResponse("Another page may not ask this.", 403)
        if scope["method"] not in ("GET", "HEAD"):
            if "origin" not in headers:
                return PlainTextResponse("Another page may not ask this.", 403)
            return PlainTextResponse("Only GET is answered here.", 405, headers={"Allow": "GET, HEAD"})
        return None if self.token is None else self._ask_for_token(scope, headers, self.token)

    def _ask_for_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        secure = headers.get("x-forwarded-proto") == "https"
        cookie = _name_cookie(headers["host"], secure=secure)
        given = cookie_parser(headers.get("cookie", "")).get(cookie, "")
        if _same(given, self.session) or _same(headers.get("authorization", ""), f"Bearer {token}"):
            return None
        pairs = parse_qsl(scope["query_string"].decode("latin-1"))
        if scope["path"] == "/" and any(_same(value, token) for name, value in pairs if name == TOKEN):
            rest = urlencode([(name, value) for name, value in pairs if name != TOKEN])
            response = RedirectResponse(f"/?{rest}" if rest else "/", 303)
            response.set_cookie(cookie, self.session, path="/", secure=secure, httponly=True, samesite="strict")
            return response
        return PlainTextResponse("A token is needed: open the address that ends with ?token=… once.", 401)


def _is_foreign(scope: Scope, headers: Headers, host: str) -> bool:
    """Return whether a page of another site makes a request that only this page may make.

    Another site may open the page at `/` in a tab, and nothing else: no pictures or answers, no frame, no request of a
    script. `Sec-Fetch-Site`, which no script can change, identifies the site; another port of this host (`same-site`)
    counts as another site. Browsers that are too old to send it, or use plain HTTP under a name other than localhost,
    are identified by `Origin` and `Referer`. A request without any of them comes from no browser, or from this site.
    """
    if any(_host_of(origin) != host.lower() for origin in headers.getlist("origin")):
        return True
    if headers.get("sec-fetch-dest", "empty") not in _ALONE:  # a frame, an embedded object
        return True
    site = headers.get("sec-fetch-site")
    if site is None:
        referrer = headers.get("referer")
        elsewhere, navigates = referrer is not None and _host_of(referrer) != host.lower(), True
    else:
        elsewhere = site not in ("same-origin", "none")
        navigates = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") in (None, "document")
    return elsewhere and not (navigates and scope["path"] == "/" and scope["method"] in ("GET", "HEAD"))


def _host_of(address: str) -> str | None:
    """Return host and port of an `http` or `https` address; None for others, such as the origin `null`."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


def _name_cookie(host: str, *, secure: bool) -> str:
    """Return the cookie's name, which holds the port that the browser sees: cookies are shared by all ports of a host.

    `__Host-` needs `Secure`. Over plain HTTP browsers take such a cookie from localhost only, and Safari does not take
    it at all; so it is used where a proxy says that the browser speaks HTTPS.
    """
    try:
        port = urlsplit(f"//{host}").port or (443 if secure else 80)
    except ValueError:
        port = 0
    return f"{'__Host-' if secure else ''}{COOKIE}-{port}"


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
