"""The search for secrets finds them in every encoding."""

from base64 import b64encode
from pathlib import Path

import pytest

from tests.live.canary import files, sightings

SECRET = "canary/0f3a9c5e71 of a slot"


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz"])
@pytest.mark.parametrize("after", ["", "!", "!!"])
def test_every_form_is_found(before: str, after: str) -> None:
    """A secret is found as plain text, in base64 at any offset, and in a URL."""
    shown = {
        "plain": f"{before}{SECRET}{after}",
        "base64": b64encode(f"{before}{SECRET}{after}".encode()).decode(),
        "address": f"https://x/?p={before}canary%2F0f3a9c5e71%20of%20a%20slot{after}",
        "clean": "canary",
    }
    found = sightings({"slot": SECRET}, shown)
    assert found == [("plain", "slot"), ("base64", "slot"), ("address", "slot")]


def test_a_place_that_shows_nothing_is_no_proof() -> None:
    """An empty text is an error, because nothing was searched."""
    with pytest.raises(AssertionError):
        sightings({"slot": SECRET}, {"log": ""})


def test_files_are_read_whatever_they_hold(tmp_path: Path) -> None:
    """Files are read below any folder, whether or not they are text."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"\xff" + SECRET.encode())
    assert sightings({"slot": SECRET}, files([tmp_path])) == [(str(tmp_path / "a" / "b"), "slot")]
