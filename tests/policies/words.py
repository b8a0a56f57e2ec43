"""Containers in the Compose specification's words, for tests: services and flows beside the sound site's."""

from __future__ import annotations

from typing import Any

from tests.site import changed

WIKI: dict[str, Any] = {
    "zones": ["frontend", "query"],
    "image": "example/wiki:2.5.1",
    "ports": [3000],
    "user": "1000:1000",
    "environment": {
        "DB_HOST": "wiki-db",
        "DB_PASS": {"secret": "wiki:db-password"},
        "PRICE": "5$$",
        "WORKERS": 4,
    },
    "secrets": {"/run/secrets/session": "wiki:session"},
    "files": {"/etc/wiki.conf": "title = wiki\n"},
    "volumes": [
        "uploads:/wiki/uploads",
        {"type": "volume", "source": "themes", "target": "/wiki/themes", "read_only": True},
        "/srv/media:/media:ro",
    ],
    "command": "serve --title 'our wiki'",
    "entrypoint": ["/bin/wiki"],
    "healthcheck": {
        "test": ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:3000/"],
        "interval": "1m30s",
        "timeout": "10s",
        "retries": 4,
        "start_period": "1h",
    },
}
DATABASE: dict[str, Any] = {
    "zones": ["query"],
    "image": "postgres:17.6",
    "ports": [5432],
    "user": "999:999",
    "memory": 512,
    "environment": ["POSTGRES_USER=wiki", "POSTGRES_PASSWORD_FILE=/run/secrets/db-password"],
    "secrets": {"/run/secrets/db-password": "wiki:db-password"},
    "volumes": ["db:/var/lib/postgresql/data"],
    "healthcheck": {"test": "pg_isready -U wiki", "interval": "10s"},
}
FLOWS = ("traefik -> wiki:3000/tcp", "wiki -> wiki-db:5432/tcp")


def site(**services: Any) -> dict[str, Any]:
    """Return the sound site's keys with a wiki and its database, and with further changes of services."""
    values = changed({"services.wiki": WIKI, "services.wiki-db": DATABASE, **services})
    values["flows"] += FLOWS
    values["unencrypted"].append({"flow": FLOWS[1], "reason": "the wiki asks its database without TLS"})
    return values
