"""OPS_TOKEN: access to details, metrics and the API description."""

import base64
import hmac

from starlette.exceptions import HTTPException
from starlette.requests import Request

from groundwork.core.state import State

# Basic comes first: Chromium reads only the first scheme, and cannot prompt for Bearer.
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="Groundwork", Bearer realm="Groundwork"'}


def is_operator(request: Request[State]) -> bool:
    """Return whether the request has OPS_TOKEN, as Bearer or Basic; always in development."""
    settings = request.state["settings"]
    if settings.environment == "development":
        return True
    given = _token(request.headers.get("authorization", ""))
    return bool(settings.ops_token) and hmac.compare_digest(given, settings.ops_token.encode())


def require_ops_token(request: Request[State]) -> None:
    """Raise 404 if no token is configured, 401 if it is missing or wrong; not in development."""
    if not is_operator(request):
        is_configured = request.state["settings"].ops_token
        raise HTTPException(401, headers=_CHALLENGE) if is_configured else HTTPException(404)


def _token(authorization: str) -> bytes:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return credentials.lstrip(" ").encode("latin-1") if scheme.lower() == "bearer" else b""
    try:
        return base64.b64decode(credentials).partition(b":")[2]
    except ValueError:
        return b""
