"""Rules for the two hosts: which engine and API the resources are made on, and how their logins are kept.

Note: the engine registers a default provider with the stack file's `docker:` and `proxmoxve:` keys, so these
rules see both the providers of the program and those of the configuration.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import permutations
from typing import Any, Final

from policies.rule import Severity, Violation, policy
from policies.secrecy import LOGIN, in_text, texts
from resources.docker import DockerContainer, DockerNetwork, DockerProvider
from resources.inputs import Ignored
from resources.proxmox import ProxmoxProvider
from resources.resource import Trail
from resources.site import Graph
from resources.traefik import split
from resources.typed import TYPES, TypedResource, dotted, is_secret
from topology.index import TopologyIndex
from topology.model import Ssh

_CREDENTIAL: Final = re.compile(
    r"passw|secret|token|api_?key|private_?key|key_?material|credential|ticket|otp$|^auth$|auth_?key|config_?file_?content",
    re.IGNORECASE,
)
_SOCKET: Final = re.compile(r"/(var/)?run/([\w-]+/)?docker[\w-]*\.sock")
"""Where the machine's own engine keeps its socket. One elsewhere may be a user's engine, which has networks
of its own, another program's, or another machine's that `ssh -L` brings here."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]*(:\d+)?", re.ASCII)
"""A host's name with a port. In other alphabets there are digits and dots that a client makes ASCII of."""
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|\d+")
"""The last part of a host's name that is an address in another spelling."""
_PUBLISHED: Final = "github://api.github.com/muhlba91/pulumi-proxmoxve"
"""Where the one provider package that says so has its program."""
_AS_NAMED: Final = "_github_/api.github.com/muhlba91/pulumi-proxmoxve"
"""The same in the name of its default provider, where the engine writes it."""
_OTHERS: Final = tuple({kind for kind in TYPES.values() if kind is not DockerContainer})
"""Kinds whose inputs reach the state alone; `policies.secrecy` has the rule for containers."""


@policy(
    obligation="A Docker host's resources must be on one engine, and all of Proxmox on one API.",
    remedy="Use one provider of each; networks of one name on two engines are two networks.",
)
def one_engine(graph: Graph) -> Iterator[Violation]:
    """Yield resources on another engine or API than most of their host's."""
    providers: list[TypedResource[Any]] = [*graph.of(DockerProvider), *graph.of(ProxmoxProvider)]
    places = {view.resource.urn: view.inputs.place for view in providers}
    groups = [("docker:", "engine", part) for part in graph.by_docker_host]
    for package, what, part in (*groups, ("proxmoxve:", "API", graph)):
        made = [view for view in part.views if view.resource.type.startswith(package)]
        often = Counter(places.get(view.resource.provider, "") for view in made)
        for view in made:
            place = places.get(view.resource.provider, "")
            if place != often.most_common(1)[0][0]:
                yield view, f"is on {what} {shown(place) or '(default)'}, where the others are not"


@policy(
    obligation="A Docker resource must be on the engine of the host that its zone is on.",
    remedy="Give it the provider of the host that docker-host names in the stack file.",
    severity=Severity.CRITICAL,
)
def resources_on_their_host(graph: Graph) -> Iterator[Violation]:
    """Yield containers and networks on the engine of another host, whose rules know none of them."""
    for part, other in permutations(graph.by_docker_host, 2):
        on, site = part.topology.docker.name, other.topology
        placed: list[TypedResource[Any]] = [
            *(view for view in part.of(DockerContainer) if view.inputs.name in site.containers_by_name),
            *(view for view in part.of(DockerNetwork) if view.inputs.name in site.docker_networks),
        ]
        for view in placed:
            yield view, f"is on the engine of {on}, and belongs to {site.docker.name}"


@policy(
    obligation="The engine must be that of the host whose rules are installed.",
    remedy="Let docker:host and hosts.<name>.ssh.address name one machine alike, or leave out both; "
    "a local engine's socket is /run/docker.sock, or below a folder of /run.",
    severity=Severity.CRITICAL,
)
def engine_on_the_declared_host(graph: Graph) -> Iterator[Violation]:
    """Yield engines of another machine than the declared one: its containers lack the host's rules."""
    # Where no host is declared, `hosts-declared` refuses every Docker resource.
    for part in graph.by_docker_host if graph.topology.docker_host else ():
        docker, providers = part.topology.docker, part.of(DockerProvider)
        for view in providers:
            if view.inputs.context:
                yield view, "context names an engine that can't be known"
            elif fault := _elsewhere(view.inputs.host, docker.ssh):
                yield view, fault
        made = [view for view in part.views if view.resource.type.startswith("docker:")]
        if made and not providers and docker.ssh:
            yield docker.name, _elsewhere("", docker.ssh)


def _elsewhere(host: str, ssh: Ssh | None) -> str:
    """Return why an engine is not that of the declared host; empty if it is."""
    parts = split(host)
    local = not host or parts.scheme == "unix"
    if ssh is None:
        if not local:
            return f"host is {shown(host)}, and the host's rules are installed on this machine"
        own = not host or (not parts.netloc and _SOCKET.fullmatch(parts.path))
        return "" if own else f"host is {shown(host)}, which may be another engine than this machine's own"
    if local:
        return f"host is {shown(host) or 'not set'}, and the host's rules are installed on {ssh.address}"
    if parts.hostname != ssh.address:
        return f"host is {shown(host)}, and the host's rules are installed on {ssh.address}"
    own = parts.scheme != "ssh" or not parts.path.strip("/") or _SOCKET.fullmatch(parts.path)
    return "" if own else f"host is {shown(host)}, which may be another engine than that machine's own"


@policy(
    ProxmoxProvider,
    obligation="The API must be that of the declared Proxmox host, and its login go to no other machine.",
    remedy="Let proxmoxve:endpoint name the host's address, and leave out ssh.nodes, proxies and forwarding.",
    severity=Severity.CRITICAL,
)
def api_on_the_declared_host(view: TypedResource[ProxmoxProvider], topology: TopologyIndex) -> Iterator[str]:
    """Yield APIs of another machine than the declared one, and other machines that get the node's login.

    A host's name is not resolved, and loopback is the lab's stand-in or a tunnel of the operator's.
    """
    if not view.inputs.endpoint:
        yield "endpoint is not set, so the environment of the engine says which API it is"
    parts = split(view.inputs.endpoint)
    given, last = _address(parts.hostname), (parts.hostname or "").rstrip(".").rpartition(".")[2]
    odd = given is None and (_NUMBER.fullmatch(last) or not _PLAIN.fullmatch(parts.netloc))
    if odd or "@" in parts.netloc:
        how = "behind a login, as a number or in other letters"
        yield f"endpoint has its host {how}, so it is not what it looks like"
    nodes = [str(each.address) for each in topology.proxmox_hosts if each.address]
    if given and nodes and not given.is_loopback and str(given) not in nodes:
        told = f"endpoint is {shown(view.inputs.endpoint)}, and the declared host is {' or '.join(nodes)}"
        yield f"{told}; if {given} is that host's, declare address: {given}"
    yield from (f"ssh.{name} is set, so another machine gets the login" for name in view.inputs.detours)


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text or "")
    except ValueError:
        return None


@policy(
    Ignored,
    DockerProvider,
    ProxmoxProvider,
    obligation="A provider's program must be the published one.",
    remedy="Leave out pluginDownloadURL and parameters; a mirror is set in the environment of the engine.",
    severity=Severity.CRITICAL,
)
def providers_published(view: TypedResource[Any], _: TopologyIndex) -> Iterator[str]:
    """Yield providers from elsewhere, which could do anything with the inputs that the pack judges.

    The engine keeps such settings below `__internal`, which an exported state has. In a preview it tells the
    pack where a default provider is from, by its name, and nothing of one that the program makes.
    """
    if not view.resource.type.startswith("pulumi:providers:"):
        return
    given, inner = view.resource.inputs, view.resource.inputs.get("__internal")
    inner = inner if isinstance(inner, Mapping) else {}
    urls = {each.get("pluginDownloadURL", "") for each in (given, inner)} - {"", _PUBLISHED}
    if urls or (view.name.startswith("default") and "/" in view.name.removesuffix(_AS_NAMED)):
        yield "pluginDownloadURL takes its program from elsewhere"
    if "parameterization" in inner:
        yield "parameterization makes it of another provider's program"


def shown(url: str) -> str:
    """Return a URL as a message may repeat it: without a login."""
    return re.sub(r"//[^/@]*@", "//", url) if LOGIN.search(url) else url


@policy(
    obligation="No container may mount the folder of the engine's own socket.",
    remedy="Remove the mount, or keep the socket below /run.",
    severity=Severity.CRITICAL,
)
def engine_socket_not_mounted(graph: Graph) -> Iterator[Violation]:
    """Yield mounts of the socket that a provider names, in any folder, or of a folder above it."""
    sockets = {split(view.inputs.host).path for view in graph.of(DockerProvider) if view.inputs.is_socket}
    for view in graph.of(DockerContainer):
        for bind in view.inputs.binds:
            path = (bind.host_path or "").rstrip("/")
            for socket in sorted(sockets):
                if bind.host_path and f"{socket}/".startswith(f"{path}/"):
                    yield view, f"mounts {bind.host_path}, where the engine's own socket is"


@policy(
    *_OTHERS,
    obligation="A login of a host or a guest must be a Pulumi secret.",
    remedy="Set it with pulumi config set --secret, or wrap it in pulumi.Output.secret.",
    severity=Severity.CRITICAL,
)
def logins_are_secrets(view: TypedResource[Any], _: TopologyIndex) -> Iterator[str]:
    """Yield passwords, tokens and keys in plain text, which the state keeps as they are, also in notes."""
    for trail, value in (*_texts(view.resource.inputs, ()), *_labels(view.resource.inputs)):
        if is_secret(view, trail) or not value:
            continue
        if any(_CREDENTIAL.search(step) for step in trail if isinstance(step, str)):
            yield f"{dotted(trail)} is a login in plain text"
        else:
            yield from (f"{dotted(trail)} {what} in plain text" for what in in_text(value))


def _texts(value: object, at: Trail) -> Iterator[tuple[Trail, str]]:
    """Yield every text with its path, those in JSON as well: providers take nested settings in that form."""
    for trail, text in texts(value, at):
        found = [(trail, text)]
        if text.startswith(("{", "[")):
            with suppress(ValueError, RecursionError):
                found = [*_texts(json.loads(text), trail)]
        yield from found


def _labels(inputs: Mapping[str, Any]) -> Iterator[tuple[Trail, str]]:
    """Yield each label of a network or volume with its path, as a setting and its value."""
    given = inputs.get("labels")
    for index, each in enumerate(given if isinstance(given, list) else ()):
        if isinstance(each, Mapping):
            yield ("labels", index), f"{each.get('label')}: {each.get('value')}"
