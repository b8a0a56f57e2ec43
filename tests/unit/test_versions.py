"""Versions in image tags."""

import pytest

from topology.versions import Version, software, version


@pytest.mark.parametrize(
    ("image", "name", "given"),
    [
        ("traefik:v3.7.18", "traefik", (3, 7, 18)),
        ("registry.example:5000/x/traefik:3.7.18-alpine@sha256:00", "traefik", (3, 7, 18)),
        ("traefik:v3.7", "traefik", (3, 7, 0)),
        ("traefik:v3.8.0-rc.1", "traefik", None),
        ("traefik@sha256:00", "traefik", None),
        ("registry.example:5000/traefik", "traefik", None),
        ("traefik:edge", "traefik", None),
    ],
)
def test_a_tag_names_a_version(image: str, name: str, given: Version | None) -> None:
    """A missing part counts as 0, and a pre-release, a digest or a word is no version."""
    assert (software(image), version(image)) == (name, given)
