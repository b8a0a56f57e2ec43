"""Fills the page: one file with its style, its script and its data inside, that asks nobody for anything.

Owns escaping, the content security policy, and writing in one step. It builds no HTML; `assets/` does. What a
reader would get wrong: the policy names style and script by their checksums, so a page that somebody edits by
hand does not run.
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
"""What could end the element that holds the data, or begin a comment in it."""


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
    """Return the style of zones in the drawing: one colour a role in each theme."""
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
    """Put `text` into a file, whole or not at all; raises ReportError."""
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
