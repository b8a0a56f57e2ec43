"""Traefik's static and dynamic configuration, from the declared routes.

Routes come from a folder of files; no container ever sees the Docker socket. What a reader would get wrong:
an empty section in a dynamic file makes Traefik drop the whole file with one log line, so sections appear
only with content.
"""

import pulumi

from components.apps.pem import read_pem
from components.apps.text import as_yaml
from components.runtime import Runtime
from topology.model import Container, Topology

_FOLDER = "/etc/traefik"
_DYNAMIC = f"{_FOLDER}/dynamic"
_WEB, _WEBSECURE, _PING = "web", "websecure", "ping"


def traefik(topology: Topology, _service: Container) -> Runtime:
    """Ports 80 (redirects only) and 443 (TLS); one router a declared route; anything else is a 404."""
    return Runtime(
        files={
            f"{_FOLDER}/traefik.yml": as_yaml(_static()),
            f"{_DYNAMIC}/routes.yml": as_yaml(_routes(topology)),
            f"{_DYNAMIC}/tls.yml": as_yaml(_tls()),
            f"{_FOLDER}/tls/certificate.pem": read_pem("tls.certificate", topology.tls.certificate),
            f"{_FOLDER}/tls/key.pem": pulumi.Output.secret(read_pem("tls.key", topology.tls.key)),
        },
        capabilities=("CAP_NET_BIND_SERVICE",),
        health=("traefik", "healthcheck"),
    )


def _static() -> dict[str, object]:
    return {
        "entryPoints": {
            _WEB: {
                "address": ":80",
                "http": {
                    "redirections": {"entryPoint": {"to": _WEBSECURE, "scheme": "https", "permanent": True}}
                },
            },
            _WEBSECURE: {"address": ":443", "http": {"tls": {}}},
            _PING: {"address": "127.0.0.1:8082"},
        },
        "ping": {"entryPoint": _PING},
        "providers": {"file": {"directory": _DYNAMIC, "watch": False}},
        "log": {"level": "INFO"},
        "accessLog": {},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
    }


def _routes(topology: Topology) -> dict[str, object]:
    if not topology.routes:
        return {}
    return {
        "http": {
            "routers": {
                route.service: {
                    "rule": f"Host(`{route.host}`)",
                    "entryPoints": [_WEBSECURE],
                    "service": route.service,
                }
                for route in topology.routes
            },
            "services": {
                route.service: {"loadBalancer": {"servers": [{"url": route.url}]}}
                for route in topology.routes
            },
        }
    }


def _tls() -> dict[str, object]:
    pair = {"certFile": f"{_FOLDER}/tls/certificate.pem", "keyFile": f"{_FOLDER}/tls/key.pem"}
    return {
        "tls": {
            "stores": {"default": {"defaultCertificate": pair}},
            "options": {"default": {"minVersion": "VersionTLS12"}},
        }
    }
