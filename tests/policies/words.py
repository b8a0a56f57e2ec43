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
    "depends_on": {"wiki-db": {"condition": "service_healthy"}},
    "working_dir": "/wiki",
    "init": True,
    "tmpfs": ["/run/wiki:size=16m,mode=755", "/var/cache"],
    "shm_size": "128m",
    "ulimits": {"nofile": 4096, "nproc": {"soft": 100, "hard": 200}},
    "sysctls": {"net.core.somaxconn": 1024},
    "extra_hosts": ["mail.lan:192.168.20.25"],
    "dns": "172.30.2.53",
    "stop_signal": "SIGINT",
    "stop_grace_period": "1m30s",
    "labels": {"org.example.team": "home"},
    "cap_add": ["NET_BIND_SERVICE"],
    "cpus": 1.50,
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
NAMES: dict[str, Any] = {
    "zones": ["query"],
    "image": "example/names:1.0",
    "ports": ["53/udp"],
    "addresses": {"query": "172.30.2.53"},
    "volumes": ["zones_of_old:/zones"],
    "depends_on": ["wiki-db"],
}
FLOWS = ("traefik -> wiki:3000/tcp", "wiki -> names:53/udp", "wiki -> wiki-db:5432/tcp")


def site(**services: Any) -> dict[str, Any]:
    """Return the sound site's keys with a wiki, its database and name server, and with further changes."""
    added = {"services.wiki": WIKI, "services.wiki-db": DATABASE, "services.names": NAMES}
    values = changed({**added, "volumes": {"zones_of_old": {"external": True}}, **services})
    values["flows"] += FLOWS
    for flow in FLOWS[1:]:
        values["unencrypted"].append({"flow": flow, "reason": "the wiki asks it without TLS"})
    return values
