"""OPS_TOKEN: who may see how this instance is doing."""

import base64
import hmac

from starlette.exceptions import HTTPException
from starlette.requests import Request

from groundwork.core.state import State

# Basic comes first: Chromium reads only the first scheme of a header, and can't ask for Bearer.
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="Groundwork", Bearer realm="Groundwork"'}


def require_ops_token(request: Request[State]) -> None:
    """Let development in; elsewhere OPS_TOKEN, as Bearer or as the password of Basic.

    Raises:
        HTTPException: 404 where no token is configured, 401 where it is not the one given.
    """
    settings = request.state["settings"]
    if settings.environment == "development":
        return
    if settings.ops_token is None:
        raise HTTPException(404)
    given = _token(request.headers.get("authorization", ""))
    if not hmac.compare_digest(given, settings.ops_token.encode()):
        raise HTTPException(401, headers=_CHALLENGE)


def _token(authorization: str) -> bytes:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return credentials.encode("latin-1") if scheme.lower() == "bearer" else b""
    try:
        return base64.b64decode(credentials).partition(b":")[2]
    except ValueError:
        return b""
