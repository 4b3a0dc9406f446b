"""The page at ``/``: type a prompt, watch the steps, see the video.

It is one file with nothing from elsewhere, and the policy that goes with it says so to the browser:
only the one script and the one style sheet whose sha256 are named run at all, and they can talk to
this server alone. The page itself holds no data, so it needs no key; what it asks for does.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter, Request
from starlette.responses import Response

router = APIRouter()

_INLINE = re.compile(r"<(?P<tag>script|style)>(?P<text>.*?)</(?P=tag)>", re.S)


@dataclass(frozen=True)
class Page:
    """A page and what a browser may do with it.

    Attributes:
        body: HTML, UTF-8.
        policy: for the header Content-Security-Policy.
        tag: for the header ETag.
    """

    body: bytes
    policy: str
    tag: str


@functools.cache
def page() -> Page:
    """The page of this package."""
    text = resources.files("motion_ray.serving.http").joinpath("page.html").read_text("utf-8")
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for match in _INLINE.finditer(text):
        digest = base64.b64encode(hashlib.sha256(match["text"].encode()).digest()).decode()
        hashes[match["tag"]].append(f"'sha256-{digest}'")
    rules = (
        "default-src 'none'",
        f"script-src {' '.join(hashes['script'])}",
        f"style-src {' '.join(hashes['style'])}",
        "connect-src 'self'",
        "media-src blob:",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
    body = text.encode()
    return Page(body, "; ".join(rules), f'"{hashlib.sha256(body).hexdigest()}"')


@router.get("/", include_in_schema=False)
async def get_page(request: Request) -> Response:
    """The page."""
    found = page()
    headers = {
        "Content-Security-Policy": found.policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-cache",
        "ETag": found.tag,
    }
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    return Response(found.body, media_type="text/html; charset=utf-8", headers=headers)
