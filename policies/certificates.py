"""Rules for mutual TLS behind the frontend: required certificates, permitted requests and lifetimes.

Note: in a first preview no key exists yet, so the content of certificate files is unknown. Every later
preview and the update itself check it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from policies.rule import Severity, policy
from policies.targets import end, groups, jobs, mappings, passed_on
from resources.docker import DockerContainer
from resources.tls import Authority, PrivateKey, TlsCertificate
from resources.traefik import listed
from resources.typed import TypedResource, is_secret
from topology.certificates import AUTHORITY_DAYS, FOLDER, IssuedCertificate
from topology.index import TopologyIndex
from topology.model import ASKS_FOR_CERTIFICATES, App, Guest

_LOOPBACK: Final = "127.0.0.1"
_OLD: Final = re.compile(r"TLS1[01]$")
_MORE: Final = re.compile(r"^-{1,2}web\.enable-|write-receiver")
"""Arguments by which Prometheus takes more than queries; other words of `--enable-feature` do not."""
_DIRECTIVE: Final = re.compile(r"^\s*(proxy_ssl_\w+)\s+([^;]*);", re.MULTILINE)
_FILE: Final = re.compile(r"\$__file\{(.*)\}")
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----")
_HOURS: Final = 24

Asked = tuple[str, str, Mapping[str, object]]
"""A place in a file, the URL it asks, and its TLS settings in the words of `IssuedCertificate.client`."""


@policy(
    DockerContainer,
    obligation="Prometheus, Loki and the exporters must refuse clients that show no certificate of theirs.",
    remedy="Set client_auth_type RequireAndVerifyClientCert and client_ca_file; keep all else on loopback.",
    severity=Severity.CRITICAL,
)
def backend_asks_for_certificates(
    view: TypedResource[DockerContainer], topology: TopologyIndex
) -> Iterator[str]:
    """Yield servers that do not require client certificates.

    Prometheus, Loki and the exporters have no users: any client could read their data and write logs.
    """
    service = topology.containers_by_name.get(view.inputs.name)
    if service is None or service.app not in ASKS_FOR_CERTIFICATES - {App.LOKI_GATEWAY}:
        return
    own = {
        **IssuedCertificate(service.name, service.name).server,
        "client_auth_type": "RequireAndVerifyClientCert",
    }
    found = list(_listening(view.inputs, service.app))
    if not found:
        yield "is given no file by which it asks for certificates"
    for file, told in found:
        for key in sorted((own.keys() | told.keys()) - {"min_version"}, key=str):
            if told.get(key) != own.get(key):
                yield f"{file}: {key} is not {own.get(key, 'left out')}"
        if _OLD.search(str(told.get("min_version", ""))):
            yield f"{file}: takes TLS older than 1.2"
    if service.app is App.LOKI:
        yield from _loki_beside(view.inputs)
    for word in view.inputs.command if service.app is App.PROMETHEUS else ():
        if _MORE.search(word):
            yield f"{word} lets its clients do more than query"


def _listening(container: DockerContainer, app: App) -> Iterator[tuple[str, Mapping[str, object]]]:
    documents = dict(container.documents)
    if app is App.LOKI:
        for file, content in documents.items():
            server = _mapping(content.get("server"))
            told = _mapping(server.get("http_tls_config"))
            yield file, {**told, "min_version": server.get("tls_min_version", "")}
        return
    for word in (*container.entrypoints, *container.command):
        flag, _, file = word.partition("=")
        if flag.lstrip("-") == "web.config.file":
            yield file, _mapping(documents.get(file, {}).get("tls_server_config"))


def _loki_beside(container: DockerContainer) -> Iterator[str]:
    """Yield Loki listeners outside loopback, flags that override its file, and enabled deletion."""
    for file, content in container.documents:
        server, internal = _mapping(content.get("server")), _mapping(content.get("internal_server"))
        listening = [("server.grpc_listen_address", server.get("grpc_listen_address"))]
        if internal.get("enable"):
            listening += [(f"internal_server.{key}", internal.get(key)) for key in _INTERNAL]
        yield from (f"{file}: {key} is not {_LOOPBACK}" for key, address in listening if address != _LOOPBACK)
        if _mapping(content.get("limits_config")).get("deletion_mode") != "disabled":
            yield f"{file}: limits_config.deletion_mode is not disabled, so logs can be deleted by request"
    for word in (*container.entrypoints, *container.command):
        if word.lstrip("-").startswith(("server.", "internal-server.", "compactor.deletion-mode")):
            yield f"{word.partition('=')[0]} overrides what its file says"


_INTERNAL: Final = ("http_listen_address", "grpc_listen_address")


@policy(
    DockerContainer,
    obligation="A client of such a service must show the flow's own certificate, and check the service's.",
    remedy="Use https, the files below /etc/certificates/<service> and its name; switch no check off.",
    severity=Severity.CRITICAL,
)
def peers_show_certificates(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield connections without TLS, the flow's certificate, or a check of the server's name."""
    source = topology.containers_by_name.get(view.inputs.name)
    if source is None or source.name == topology.ingress_name:
        return
    for where, url, told in _asking(view.inputs):
        service = topology.services.get(topology.by_address.get(end(url)[0] or "", ""))
        if service is None or service == source or getattr(service, "app", None) not in ASKS_FOR_CERTIFICATES:
            continue
        if not url.startswith("https://"):
            yield f"{where} asks {service.name} without TLS"
        wanted = IssuedCertificate(source.name, service.name).client(topology)
        unlike = (key for key in wanted.keys() | told.keys() if told.get(key) != wanted.get(key))
        for key in sorted(unlike, key=str):
            yield f"{where} asks {service.name} with {key} not {wanted.get(key, 'left out')}"


def _asking(container: DockerContainer) -> Iterator[Asked]:
    for file, content in container.documents:
        for job in jobs(content):
            for target in (
                str(each)
                for group in groups({"scrape_configs": [job]})
                for each in listed(group.get("targets"))
            ):
                url = f"{job.get('scheme', 'http')}://{target}"
                yield f"{file}: scrape target {target}", url, _mapping(job.get("tls_config"))
        for client in mappings(content.get("clients")):
            yield f"{file}: client", str(client.get("url", "")), _mapping(client.get("tls_config"))
        for source in mappings(content.get("datasources")):
            yield f"{file}: data source", str(source.get("url", "")), _of_grafana(source)
    for upload in container.uploads:
        for url in passed_on(upload):
            yield f"{upload.file}: proxy_pass", url, _of_nginx(upload.text or "")


def _of_grafana(source: Mapping[str, object]) -> dict[str, object]:
    """Return a data source's TLS keys as `IssuedCertificate.client` names them; tlsSkip* keys are kept."""
    plain, secret = _mapping(source.get("jsonData")), _mapping(source.get("secureJsonData"))
    told = {key: value for key, value in plain.items() if str(key).startswith("tlsSkip") and value}
    told["server_name"] = plain.get("serverName")
    if plain.get("tlsAuthWithCACert"):
        told["ca_file"] = secret.get("tlsCACert")
    if plain.get("tlsAuth"):
        told |= {"cert_file": secret.get("tlsClientCert"), "key_file": secret.get("tlsClientKey")}
    return {key: _FILE.sub(r"\1", value) if isinstance(value, str) else value for key, value in told.items()}


_NGINX: Final = {
    "proxy_ssl_trusted_certificate": "ca_file",
    "proxy_ssl_certificate": "cert_file",
    "proxy_ssl_certificate_key": "key_file",
    "proxy_ssl_name": "server_name",
}


def _of_nginx(text: str) -> dict[str, object]:
    """Return nginx's TLS directives as `IssuedCertificate.client` names them; `said twice` where repeated."""
    said = _DIRECTIVE.findall(text)
    often = Counter(key for key, _ in said)
    told = {_NGINX.get(key, key): value if often[key] == 1 else "said twice" for key, value in said}
    for switch in ("proxy_ssl_verify", "proxy_ssl_server_name"):
        if told.pop(switch, "off") != "on":
            told[switch] = "off"
    told.pop("proxy_ssl_protocols", None)
    return told


@policy(
    DockerContainer,
    obligation="The ingress must ask guests, and services with ca-file, by checked TLS, unless unencrypted.",
    remedy="Use https, a serversTransport with the service's name and its authorities.pem, or unencrypted.",
    severity=Severity.CRITICAL,
)
def guests_show_certificates(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield services asked without TLS or a name check: neighbours on a VLAN could impersonate guests."""
    if not view.inputs.is_proxy(topology):
        return
    unencrypted = {each.flow for each in topology.unencrypted}
    for where, url, transport in view.inputs.traefik.asked:
        host, port = end(url)
        name = topology.by_address.get(host or "") or topology.logical.get(host or "", "")
        guest = topology.services.get(name)
        if guest is None or not (isinstance(guest, Guest) or guest.ca_file):
            continue
        if guest.ca_file is None:
            flows = {flow for flow in topology.flows_to(guest.name) if flow.port.number == port}
            if not flows & unencrypted:
                yield f"{where} asks {guest.name} without TLS, which unencrypted does not list"
            continue
        if "://" not in url and any(stream.port.number == port for stream in guest.streams):
            continue
        if not url.startswith("https://"):
            yield f"{where} asks {guest.name} without TLS"
        held = IssuedCertificate(topology.ingress.name, guest.name)
        wanted = {"serverName": topology.physical(guest.name), "rootCAs": [held.authorities]}
        for key in sorted((wanted.keys() | transport.keys()) - _ALSO, key=str):
            if transport.get(key) != wanted.get(key):
                yield f"{where} asks {guest.name} with {key} not {wanted.get(key, 'left out')}"


_ALSO: Final = {"disableHTTP2", "forwardingTimeouts", "maxIdleConnsPerHost"}
"""Transport settings that do not affect which peer is trusted."""


@policy(
    DockerContainer,
    obligation="A container must hold the certificates of its declared flows, keys as secrets, and no other.",
    remedy="Declare the flow; its certificate comes with it. Upload keys as they are made, as secrets.",
    severity=Severity.CRITICAL,
)
def certificates_as_declared(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield missing and surplus certificate files, and keys that are no secrets."""
    name = topology.logical.get(view.inputs.name, "")
    held = topology.held_by(name)
    keys = {each.key for each in held}
    routes = topology.routes if name == topology.ingress_name else ()
    guests = {IssuedCertificate(name, route.service).authorities for route in routes if route.ca_file}
    wanted = keys | guests | {path for each in held for path in (each.certificate, each.authorities)}
    uploads = {upload.file: place for place, upload in enumerate(view.inputs.uploads)}
    given = {file for file in uploads if file.startswith(f"{FOLDER}/")}
    for file in sorted(wanted - given):
        yield f"lacks {file}, which a declared flow needs"
    for file in sorted(given - wanted):
        yield f"holds {file}, which no declared flow needs"
    for file in sorted(given & keys):
        place = uploads[file]
        if view.inputs.uploads[place].text and not is_secret(view, ("uploads", place, "content")):
            yield f"{file} is no secret"
    for file in sorted(given & guests):
        text = view.inputs.uploads[uploads[file]].text
        if text != "" and {*_PEM.findall(text or "")} != {"CERTIFICATE"}:
            yield f"{file} holds something else than certificates"


@policy(
    Authority,
    TlsCertificate,
    PrivateKey,
    obligation="A certificate must be as short-lived as declared, sign nothing, and have a strong key.",
    remedy="Take lifetimes from homelab-network:certificates, and make ECDSA keys on P256 or P384.",
)
def certificates_short_lived(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield certificates with another lifetime or use than declared, and weak keys."""
    made, given = view.inputs, topology.certificates
    if isinstance(made, PrivateKey):
        if made.algorithm != "ECDSA" or made.ecdsa_curve not in {"P256", "P384"}:
            yield f"is a key of {made.algorithm} that is not ECDSA on P256 or P384"
        return
    authority = isinstance(made, Authority)
    days, renew = (AUTHORITY_DAYS, 0) if authority else (given.days, given.renew)
    if made.validity_period_hours != days * _HOURS:
        yield f"is valid for {made.validity_period_hours:g} hours, not {days} days"
    if made.early_renewal_hours != renew * _HOURS:
        yield f"is renewed {made.early_renewal_hours:g} hours before its end, not {renew} days"
    if made.is_ca_certificate != authority:
        yield ("signs other certificates" if made.is_ca_certificate else "is an authority that signs nothing")
    if sorted(made.allowed_uses) not in _USES[authority]:
        yield f"is good for {', '.join(made.allowed_uses) or 'everything'}"


_USES: Final = {
    True: [["cert_signing"]],
    False: [["client_auth", "digital_signature"], ["digital_signature", "server_auth"]],
}
"""Permitted uses of an authority (True) and of what it signs: client or server, never both."""


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
