"""Rules for the private authorities: whom each certificate names, and which authorities a container trusts.

Note: before the first update no certificate exists, so only requests are judged; every later preview judges
the certificates that containers get as well.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from policies.rule import Severity, Violation, policy
from resources.docker import DockerContainer
from resources.resource import HIDDEN
from resources.site import Graph
from resources.tls import Authority, PrivateKey, Request, TlsCertificate
from resources.typed import TypedResource
from topology.index import TopologyIndex

_PEM: Final = re.compile("-----BEGIN ")


@policy(
    Authority,
    TlsCertificate,
    PrivateKey,
    Request,
    obligation="A certificate must be one that a declared flow needs, and name its holder alone.",
    remedy="Name it <service>.<holder>.<signer>, with the holder as its only common name and DNS name.",
    severity=Severity.CRITICAL,
)
def certificates_name_their_holder(view: TypedResource[Any], topology: TopologyIndex) -> Iterator[str]:
    """Yield undeclared keys and certificates, and requests in another's name: servers tell clients by it."""
    leaves, roots = topology.leaves, topology.authorities
    wanted = {*(() if isinstance(view.inputs, Authority) else leaves)}
    wanted |= roots if isinstance(view.inputs, Authority | PrivateKey) else frozenset()
    if view.name not in wanted:
        yield "is a key or certificate that no declared flow needs"
    elif isinstance(view.inputs, Request):
        holder = topology.physical(leaves[view.name].holder)
        for path, given, own in (
            ("subject", dict(view.inputs.subject), {"commonName": holder}),
            ("dnsNames", view.inputs.dns_names, (holder,)),
            ("ipAddresses", view.inputs.ip_addresses, ()),
            ("uris", view.inputs.uris, ()),
        ):
            if given != own:
                yield f"{path} does not name {holder} alone"


@policy(
    obligation="A container must trust the declared authorities alone, and hold certificates of its own.",
    remedy="Upload the files as components/authorities.py makes them.",
    severity=Severity.CRITICAL,
)
def authorities_as_declared(graph: Graph) -> Iterator[Violation]:
    """Yield undeclared authorities, and certificates of another: either lets an unknown client in."""
    topology = graph.topology
    yield from _unrequested(graph)
    yield from _crossed(graph)
    signing = defaultdict(set)
    for made in graph.of(TlsCertificate):
        if isinstance(text := made.resource.inputs.get("caCertPem"), str):
            signing[made.name.partition(".")[0]].add(text)
    files = _files(graph)
    number, seen = len(topology.certificates.authorities), dict[str, str]()
    for each in topology.leaves.values():
        view, given = files.get(each.holder, (None, dict[str, str]()))
        if view is None:
            continue
        trusted, shown = given.get(each.authorities, ""), given.get(each.certificate, "")
        if trusted and len(_PEM.findall(trusted)) != number:
            yield view, f"{each.authorities} has {len(_PEM.findall(trusted))} certificates, not {number}"
        elif trusted and not all(text in trusted for text in signing[each.service]):
            yield view, f"{each.authorities} lacks the authority that signs for {each.service}"
        elif trusted and trusted != files.get(each.service, (None, given))[1].get(each.authorities, trusted):
            yield view, f"{each.authorities} is not what {each.service} trusts"
        if shown and seen.setdefault(shown, each.holder) != each.holder:
            yield view, f"{each.certificate} is the certificate of {seen[shown]}"
        if shown and not _names(shown, topology.physical(each.holder)):
            yield view, f"{each.certificate} does not name {topology.physical(each.holder)} alone"


def _unrequested(graph: Graph) -> Iterator[Violation]:
    """Yield the certificates of declared flows that are not requested; another key could serve instead."""
    for name in sorted(graph.topology.leaves.keys() - {view.name for view in graph.of(Request)}):
        yield name, "has no certificate request, which its flow needs"


def _crossed(graph: Graph) -> Iterator[Violation]:
    """Yield keys, requests and authorities that are another's: the key's owner could act as the other.

    Resources are named `<service>.<signer>` and `<service>.<holder>.<signer>`.
    """
    owners, texts = dict[str, str](), dict[tuple[str, str], str]()
    made: list[TypedResource[Any]] = [*graph.of(Authority), *graph.of(Request), *graph.of(TlsCertificate)]
    for view in made:
        root = ".".join(view.name.split(".")[:: max(1, view.name.count("."))])
        for name, kind, owner in (
            ("privateKeyPem", "key", view.name),
            ("caPrivateKeyPem", "key", root),
            ("certRequestPem", "request", view.name),
            ("caCertPem", "certificate", root),
        ):
            text = view.resource.inputs.get(name)
            if not isinstance(text, str) or text in {"", HIDDEN}:
                continue
            if owners.setdefault(text, owner) != owner:
                yield view, f"{name} is that of {owners[text]}"
            elif texts.setdefault((kind, owner), text) != text:
                yield view, f"{name} is not that of {owner}"


def _files(graph: Graph) -> dict[str, tuple[TypedResource[DockerContainer], dict[str, str]]]:
    """Return each declared container with the texts of its files by path."""
    return {
        graph.called(view.inputs.name): (view, {each.file: each.text or "" for each in view.inputs.uploads})
        for view in graph.of(DockerContainer)
    }


def _names(pem: str, holder: str) -> bool:
    """Whether a certificate names a holder alone; a text that is no certificate opens nothing."""
    from cryptography import x509  # noqa: PLC0415  # a tenth of a short command's time
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        other = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except ValueError:
        return True
    except x509.ExtensionNotFound:
        return False
    return [name.value for name in names] == [holder] and [*other] == [x509.DNSName(holder)]
