"""What a request is known by: its id, and its place in a trace."""

import os
import re
import uuid
from collections.abc import Iterator

_BATCH = 256
_GIVEN = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
# Version 00 of W3C Trace Context; ids of zeros alone are invalid there.
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def request_id_of(value: bytes) -> bytes | None:
    """Return the caller's X-Request-ID if it is fit for a header and a log."""
    return bytes(value) if _GIVEN.fullmatch(value) else None


def traceparent_of(value: bytes) -> str | None:
    """Return the caller's traceparent if it is well-formed (W3C Trace Context, 3.2.2)."""
    return bytes(value).decode() if _TRACEPARENT.fullmatch(value) else None


def _generate() -> Iterator[bytes]:
    """Make UUIDs of version 4, a batch at a time: a tenth of uuid.uuid4()'s cost.

    Those of a batch have 62 random bits in common; a set sees to it that the other 48 differ.
    """
    while True:
        head = str(uuid.uuid4())[:24].encode()
        tails = os.urandom(6 * _BATCH).hex().encode()
        yield from {head + tails[at : at + 12] for at in range(0, len(tails), 12)}


new_request_ids = _generate()
