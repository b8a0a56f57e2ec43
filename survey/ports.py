"""Well-known TCP ports of programs that should not be open to a whole network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from topology.model import Port, Protocol

DATABASES: Final[Mapping[int, str]] = {
    1433: "SQL Server",
    1521: "Oracle",
    2379: "etcd",
    3306: "MySQL or MariaDB",
    5432: "PostgreSQL",
    5984: "CouchDB",
    6379: "Redis",
    7687: "Neo4j",
    8086: "InfluxDB",
    9042: "Cassandra",
    9200: "Elasticsearch",
    11211: "memcached",
    26257: "CockroachDB",
    27017: "MongoDB",
}
ADMIN: Final[Mapping[int, str]] = {
    81: "Nginx Proxy Manager's admin page",
    111: "the port mapper",
    445: "SMB",
    873: "rsync",
    2049: "NFS",
    2375: "the Docker API without TLS",
    2376: "the Docker API",
    3100: "Loki",
    3389: "remote desktop",
    5050: "pgAdmin",
    5601: "Kibana",
    5900: "VNC",
    8006: "Proxmox",
    9000: "Portainer or MinIO",
    9090: "Prometheus or Cockpit",
    9093: "Alertmanager",
    9100: "Node Exporter",
    9443: "Portainer",
    10000: "Webmin",
    15672: "RabbitMQ's admin page",
}
DOCKER_API: Final = 2375
"""The port of the Docker API without TLS."""


def danger_of(port: Port | None) -> str:
    """Return what a well-known port is; empty for any other."""
    if port is None or port.protocol is not Protocol.TCP:
        return ""
    if kind := DATABASES.get(port.number):
        return f"the port of a database ({kind})"
    return f"the port of {ADMIN[port.number]}" if port.number in ADMIN else ""
