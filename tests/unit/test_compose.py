"""Compose files in a stack file's words: what is refused, and that the rest loads and passes the pack."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import compose as command
from policies.evaluate import evaluate
from tests.policies.sound import TODAY, run
from tests.site import configuration, own
from topology.config import load
from topology.index import TopologyIndex

FIXTURES = Path(__file__).parent / "compose"

FILES: dict[str, tuple[int, tuple[str, ...]]] = {
    "authentik": (0, ()),
    "bookstack": (0, ()),
    "build-only": (0, ()),
    "cloudflared": (0, ()),
    "gitea-ssh": (0, ()),
    "gpu-llm": (0, ()),
    "home-assistant": (0, ()),
    "immich": (0, ()),
    "mailserver": (0, ()),
    "media-vpn": (0, ()),
    "miniflux": (0, ()),
    "minio": (0, ()),
    "monitoring": (0, ()),
    "mqtt": (0, ()),
    "n8n-queue": (0, ()),
    "nextcloud-mariadb-redis": (0, ()),
    "nfs-external": (0, ()),
    "paperless-tika": (0, ()),
    "pihole": (0, ()),
    "portainer": (0, ()),
    "profiles-extends": (0, ()),
    "redis-password": (0, ()),
    "searxng": (0, ()),
    "secrets-files": (0, ()),
    "static-site": (0, ()),
    "syncthing": (0, ()),
    "traefik-labels": (0, ()),
    "uptime-kuma": (0, ()),
    "vaultwarden": (0, ()),
    "wiki-postgres": (0, ()),
    "wordpress": (0, ()),
}
"""Fixture -> exit status, and the lines on stderr, each by its path and a part of the better way."""


def base() -> dict[str, Any]:
    """Return a small site: Docker-SRV, the ingress on edge and frontend, and nothing behind it."""
    config = configuration()
    services = {"traefik": {**config["services"]["traefik"], "image": "traefik:3.7.18"}}
    return {
        "domain": "home.example",
        "protect": False,
        "hosts": {"docker-srv": config["hosts"]["docker-srv"]},
        "tls": config["tls"],
        "zones": {name: config["zones"][name] for name in ("edge", "frontend")},
        "services": services,
        "flows": ["internet -> traefik:80/tcp", "internet -> traefik:443/tcp"],
    }


def joined(text: str) -> dict[str, Any]:
    """Return the small site with a fragment in it."""
    site, found = base(), own((yaml.safe_load(text) or {}).get("config", {}))
    if "egress" in found.get("zones", {}):
        site["hosts"]["docker-srv"]["name-servers"] = ["9.9.9.9"]
    return {
        **site,
        "zones": {**found.get("zones", {}), **site["zones"]},
        "services": {**site["services"], **found.get("services", {})},
        "flows": [*site["flows"], *found.get("flows", [])],
        **{key: found[key] for key in ("unencrypted", "volumes") if key in found},
    }


def pinned(text: str) -> str:
    """Return a fragment in which the images that name no version are given one, as its comments ask for."""
    return re.sub(r"image: (\S+?)(:latest)? # refused: .*", r"image: \1:1.0.0", text)


def faults(text: str) -> list[str]:
    """Return what the pack finds in the small site with a fragment; raises ConfigError."""
    config = joined(text)
    topology = load(config)
    return [
        f"{each.rule}: {each}" for each in evaluate(run(config), TopologyIndex.of(topology), TODAY).findings
    ]


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Let files with variables lie in the fixture's folder, as they lie in the project's."""
    if name := getattr(request.node, "callspec", None):
        folder = FIXTURES / str(name.params.get("name", ""))
        monkeypatch.setattr("topology.env_files.PROJECT", folder)


def printed(name: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str, list[str]]:
    """Return exit status, fragment and refusals of a fixture."""
    status = command.main([str(FIXTURES / name / "docker-compose.yml"), *more])
    out, err = capsys.readouterr()
    return status, out, err.splitlines()


@pytest.mark.usefixtures("authority")
@pytest.mark.parametrize("name", FILES)
def test_what_remains_loads_and_passes_the_pack(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The fragment, its guesses confirmed and its images pinned, makes a sound site."""
    _, text, _ = printed(name, capsys)
    assert faults(pinned(text)) == []
