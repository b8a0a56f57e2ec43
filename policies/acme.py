"""Rules for certificates from an ACME server: which server the ingress asks, and where it stores them.

Note: settings are compared as a whole, not with a list of bad ones, because any undeclared setting may skip
a check, ask another server, or request names that are not the site's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.rule import Severity, policy
from resources.docker import DockerContainer
from resources.traefik_shape import lower
from resources.typed import TypedResource, is_secret
from topology.certificates import ACME_VOLUME, RESOLVER, login, resolver
from topology.index import TopologyIndex


@policy(
    DockerContainer,
    obligation="The ingress must ask the declared ACME server alone for certificates, and check who answers.",
    remedy="Declare tls.acme, and leave resolver, entrypoint and environment as the program writes them.",
    severity=Severity.CRITICAL,
)
def acme_as_declared(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield undeclared ACME settings: another server could obtain or issue the site's certificates."""
    configuration, acme = view.inputs.traefik, topology.acme
    if not view.inputs.is_proxy(topology) or not (acme or configuration.resolvers):
        return
    wanted = {RESOLVER: {"acme": resolver(acme)}} if acme else {}
    unlike = [*_unlike("certificatesresolvers", configuration.resolvers, lower(wanted))]
    environment = {**topology.ingress.environment, **(login(acme) if acme else {})}
    unlike += _unlike("envs", view.inputs.environment, environment)
    for name, entrypoint in configuration.listening:
        http = entrypoint.get("http")
        if isinstance(http, Mapping) and "tls" in http:
            told = {"certresolver": RESOLVER} if acme else {}
            unlike += _unlike(f"entrypoints.{name}.http.tls", http["tls"], told)
    for path, _, router in configuration.items("http", "routers"):
        unlike += [f"{path}.tls"] if isinstance(router, Mapping) and "tls" in router else []
    yield from (f"{path}: is not as declared" for path in unlike)


@policy(
    DockerContainer,
    obligation="ACME certificates must be kept on a volume, and the ACME login be a secret.",
    remedy="Mount a volume of the ingress's own there, and upload the login's files as Pulumi secrets.",
)
def acme_keys_kept(view: TypedResource[DockerContainer], topology: TopologyIndex) -> Iterator[str]:
    """Yield missing volumes and login files: repeated requests hit the ACME server's weekly rate limit."""
    acme = topology.acme
    if acme is None or not view.inputs.is_ingress(topology):
        return
    if not any(bind.target == ACME_VOLUME and bind.volume for bind in view.inputs.binds):
        yield f"mounts no volume at {ACME_VOLUME}, where keys and certificates are"
    places = {upload.file: place for place, upload in enumerate(view.inputs.uploads)}
    for file in login(acme).values():
        if file not in places:
            yield f"lacks {file}, which the login needs"
        elif not is_secret(view, ("uploads", places[file], "content")):
            yield f"{file} is no secret"


def _unlike(path: str, given: object, wanted: object) -> Iterator[str]:
    """Yield the paths at which two settings differ."""
    if isinstance(given, Mapping) and isinstance(wanted, Mapping):
        for key in sorted(given.keys() | wanted.keys(), key=str):
            yield from _unlike(f"{path}.{key}", given.get(key), wanted.get(key))
    elif given != wanted:
        yield path
