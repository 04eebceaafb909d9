"""Who may ask the server: this machine's own browser, or who has the token. Everything else ends here."""

import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "noduleclip"
TOKEN = "token"  # noqa: S105 - a name, not one
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


@dataclass(frozen=True)
class Guard:
    """Lets through what comes from where it may, and writes the same strict headers on every answer.

    Attributes:
        app: What is guarded.
        hosts: Names and addresses, in lower case, under which a browser may know this server. Any other is refused:
            a page of another site whose name was made to point here would have that name.
        token: What whoever asks must know; None where no one but this machine can ask.
    """

    app: ASGIApp
    hosts: frozenset[str]
    token: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']}: this server speaks HTTP only")

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._refuse(scope) or self.app
        await answer(scope, receive, send_guarded)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name_of(hosts[0]) not in self.hosts:
            return PlainTextResponse("This server is not known by that name; see --allow-host.", 421)
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin")
            if origin is None or urlsplit(origin).netloc.lower() != hosts[0].lower():
                return PlainTextResponse("Another page may not ask this.", 403)
            return PlainTextResponse("Only GET is answered here.", 405, headers={"Allow": "GET, HEAD"})
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return PlainTextResponse("Another page may not ask this.", 403)
        return None if self.token is None else self._ask_for_token(scope, headers, self.token)

    def _ask_for_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        proof = hashlib.sha256(token.encode()).hexdigest()
        given = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if _same(given, proof) or _same(headers.get("authorization", ""), f"Bearer {token}"):
            return None
        pairs = parse_qsl(scope["query_string"].decode("latin-1"))
        if scope["path"] == "/" and any(_same(value, token) for name, value in pairs if name == TOKEN):
            rest = urlencode([(name, value) for name, value in pairs if name != TOKEN])
            response = RedirectResponse(f"/?{rest}" if rest else "/", 303)
            response.set_cookie(COOKIE, proof, httponly=True, samesite="strict")
            return response
        return PlainTextResponse("A token is needed: open the address that ends with ?token=… once.", 401)


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
