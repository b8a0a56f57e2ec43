"""Fills the page: one file that contains its style, script and data and loads nothing else.

This module does the escaping, the content security policy and the atomic write; the HTML is in `assets/`.
Note: the policy names style and script by checksum, so a page edited by hand does not run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from report.errors import ReportError
from topology.model import ROLES

_ASSETS = Path(__file__).with_name("assets")
_IN_SCRIPT = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
"""Characters that could end the data's element or begin a comment in it -> their escapes."""


def page(title: str, data: Mapping[str, Any]) -> str:
    """Return the whole page."""
    style, script = _asset("page.css") + colours(), _asset("page.js")
    return Template(_asset("page.html")).substitute(
        title=html.escape(title),
        policy=(
            f"default-src 'none'; style-src {_checksum(style)}; script-src {_checksum(script)}; "
            "base-uri 'none'; form-action 'none'"
        ),
        style=style,
        script=script,
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(_IN_SCRIPT),
    )


def colours() -> str:
    """Return the style of zones in the drawing: one colour per role and theme."""
    light = " ".join(f"--zone-{role}: {traits.colour.light};" for role, traits in ROLES.items())
    dark = " ".join(f"--zone-{role}: {traits.colour.dark};" for role, traits in ROLES.items())
    return "\n".join(
        [
            f":root {{ {light} }}",
            f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}",
            *(f"svg .{role} rect {{ fill: var(--zone-{role}); }}" for role in ROLES),
            "",
        ]
    )


def write(path: Path, text: str) -> None:
    """Write `text` to a file atomically; raises ReportError."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ReportError(f"{path}: {error.strerror}; name a file that can be written.") from None


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _checksum(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
