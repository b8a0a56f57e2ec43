"""Blackbox exporter, which probes Docker-SRV from outside for `rendered.apps.watch`.

It trusts only the certificate chain that the stack file names, so any other certificate on 443 is a failed
route. With an ACME server it trusts the stack file's `ca-file`, else the authorities of the image.
"""

from rendered.apps.mutual import WEB_CONFIG, web_config
from rendered.apps.text import as_yaml
from rendered.apps.watch import ProbeKind, probes
from rendered.runtime import PemFile, Runtime, tcp_health
from topology.model import Certificate, Container, Topology

_FOLDER = "/etc/blackbox_exporter"
_CHAIN = f"{_FOLDER}/chain.pem"
_SERVED = [200, 204, 301, 302, 303, 307, 308, 401]
"""HTTP statuses that come from a service; 404 and 502 come from the ingress."""


def blackbox_exporter(topology: Topology, service: Container) -> Runtime:
    """Return a runtime with one module for each kind of probe; TCP probes need no capability."""
    port = service.ports[0].number
    return Runtime(
        command=(
            f"--config.file={_FOLDER}/config.yml",
            f"--web.listen-address=:{port}",
            f"--web.config.file={WEB_CONFIG}",
        ),
        files={
            f"{_FOLDER}/config.yml": as_yaml({"modules": _modules(topology)}),
            WEB_CONFIG: web_config(service),
            **({_CHAIN: trusted} if (trusted := _trusted(topology)) else {}),
        },
        health=tcp_health(port),
    )


def _trusted(topology: Topology) -> PemFile | None:
    """Return the PEM file that verifies the ingress's certificate, with its key; None: the image's."""
    if isinstance(topology.tls, Certificate):
        return PemFile(key="tls.certificate", path=topology.tls.certificate)
    authority = topology.acme and topology.acme.ca_file
    return PemFile(key="tls.acme.ca-file", path=authority) if authority else None


def _modules(topology: Topology) -> dict[str, object]:
    tls = {"ca_file": _CHAIN} if _trusted(topology) else {}
    kinds = dict.fromkeys(probe.kind for probe in probes(topology))
    made = {
        ProbeKind.ROUTE: _http(_SERVED, fail_if_not_ssl=True, tls_config=tls),
        ProbeKind.REDIRECT: _http(
            [301, 308], fail_if_header_not_matches=[{"header": "Location", "regexp": "^https://"}]
        ),
        ProbeKind.UNKNOWN_HOST: _http([404], tls_config={**tls, "server_name": _first(topology)}),
        ProbeKind.CONTROL: {"prober": "tcp", "timeout": "2s"},
        ProbeKind.CLOSED: {"prober": "tcp", "timeout": "2s"},
    }
    return {str(kind): made[kind] for kind in kinds}


def _http(statuses: list[int], **more: object) -> dict[str, object]:
    http = {"valid_status_codes": statuses, "follow_redirects": False, **more}
    return {"prober": "http", "timeout": "4s", "http": http}


def _first(topology: Topology) -> str:
    """Return a host name that the certificate covers, as the server name in probes of an unknown host."""
    return next((route.host for route in topology.routes), topology.domain)
