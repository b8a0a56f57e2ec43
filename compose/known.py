"""What published images are known to listen on and to run as, and what is not for a container of the site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from topology.versions import software


@dataclass(frozen=True)
class Known:
    """An image's port, like `5432/tcp`, and the user that owns its data, as uid:gid."""

    port: str
    user: str = ""


IMAGES: Final[dict[str, Known]] = {
    "postgres": Known("5432/tcp", "999:999"),
    "postgis": Known("5432/tcp", "999:999"),
    "timescaledb": Known("5432/tcp", "70:70"),
    "pgvecto-rs": Known("5432/tcp", "999:999"),
    "mariadb": Known("3306/tcp", "999:999"),
    "mysql": Known("3306/tcp", "999:999"),
    "redis": Known("6379/tcp", "999:1000"),
    "valkey": Known("6379/tcp", "999:1000"),
    "mongo": Known("27017/tcp", "999:999"),
    "memcached": Known("11211/tcp", "11211:11211"),
    "rabbitmq": Known("5672/tcp", "999:999"),
    "gotenberg": Known("3000/tcp", "1001:1001"),
    "tika": Known("9998/tcp", "35002:35002"),
    "elasticsearch": Known("9200/tcp", "1000:1000"),
    "opensearch": Known("9200/tcp", "1000:1000"),
    "meilisearch": Known("7700/tcp"),
    "influxdb": Known("8086/tcp", "1000:1000"),
    "eclipse-mosquitto": Known("1883/tcp", "1883:1883"),
    "immich-machine-learning": Known("3003/tcp"),
    "prometheus": Known("9090/tcp", "65534:65534"),
    "node-exporter": Known("9100/tcp", "65534:65534"),
    "grafana": Known("3000/tcp", "472:0"),
    "minio": Known("9000/tcp"),
    "nats": Known("4222/tcp"),
    "clickhouse-server": Known("8123/tcp", "101:101"),
    "home-assistant": Known("8123/tcp"),
    "jellyfin": Known("8096/tcp"),
    "plex": Known("32400/tcp"),
    "adguardhome": Known("3000/tcp"),
    "gitea": Known("3000/tcp", "1000:1000"),
    "forgejo": Known("3000/tcp", "1000:1000"),
    "whoami": Known("80/tcp"),
}
"""Last part of an image's name -> what it is known for; a guess, since a tag may differ."""

INGRESSES: Final = (
    "traefik",
    "caddy",
    "nginx-proxy-manager",
    "nginx-proxy",
    "swag",
    "acme-companion",
    "haproxy",
)
"""Images whose work the site's own ingress does."""
TUNNELS: Final = ("cloudflared", "newt", "ngrok", "tailscale")
"""Images that let the internet in past the ingress."""

INNER: Final = frozenset({1433, 3306, 5432, 5672, 6379, 9200, 11211, 27017})
"""Ports of databases and queues, which their services ask and people do not."""
BROADCASTS: Final = frozenset({67, 68, 137, 138, 1900, 5353, 7359, 21027})
"""Ports of UDP on which programs hear broadcasts and multicast, which no ingress passes on."""
NOT_WEB: Final = frozenset(
    {
        *(
            21,
            22,
            25,
            53,
            110,
            111,
            123,
            137,
            138,
            139,
            143,
            161,
            389,
            445,
            465,
            554,
            587,
            636,
            853,
            993,
            995,
        ),
        *(
            1194,
            1433,
            1883,
            1900,
            2049,
            2222,
            3306,
            3389,
            3478,
            4222,
            5060,
            5222,
            5353,
            5432,
            5672,
            5900,
            6379,
        ),
        *(6667, 6881, 8883, 9042, 9092, 11211, 19132, 21027, 22000, 25565, 27017, 51413, 51820),
    }
)
"""TCP ports of well-known protocols that are not HTTP."""

SCHEMES: Final = {
    "http": 80,
    "https": 443,
    "ws": 80,
    "wss": 443,
    "redis": 6379,
    "rediss": 6379,
    "amqp": 5672,
    "postgres": 5432,
    "postgresql": 5432,
    "mysql": 3306,
    "mariadb": 3306,
    "mongodb": 27017,
    "mqtt": 1883,
    "mqtts": 8883,
    "smtp": 25,
    "ldap": 389,
    "ldaps": 636,
    "nats": 4222,
    "valkey": 6379,
}
"""Scheme of a URL -> the port that it stands for."""

ASKS: Final = {"immich-server": ("immich-machine-learning",)}
"""Image -> images that it asks by default, without a variable."""

MOVING: Final = frozenset({"release", "stable", "main", "master", "edge", "nightly", "develop", "dev", "lts"})
"""Tags that name another image from time to time."""


def known(image: str) -> Known | None:
    """Return what is known of an image; None where nothing is."""
    if image.partition("@")[0].endswith("/immich/postgres"):
        return IMAGES["postgres"]
    found = IMAGES.get(software(image))
    if found and software(image) == "postgres" and "alpine" in image:
        return Known(found.port, "70:70")
    return found
