"""Rules for the two hosts: which engine and API the resources are made on, and how their logins are kept.

Note: the engine registers a default provider with the stack file's `docker:` and `proxmoxve:` keys, so these
rules see both the providers of the program and those of the configuration.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from policies.rule import Severity, Violation, policy
from policies.secrecy import LOGIN, PRIVATE, texts
from resources.docker import DockerContainer, DockerProvider
from resources.proxmox import ProxmoxProvider
from resources.resource import Trail
from resources.site import Graph
from resources.traefik import split
from resources.typed import TYPES, TypedResource, dotted, is_secret
from topology.host_folders import within
from topology.index import TopologyIndex
from topology.model import Ssh

_CREDENTIAL: Final = re.compile(
    r"passw|secret|token|api_?key|private_?key|key_?material|credential|ticket|otp$|^auth$|auth_?key|config_?file_?content",
    re.IGNORECASE,
)
_OTHERS: Final = tuple({kind for kind in TYPES.values() if kind is not DockerContainer})
"""Kinds whose inputs reach the state alone; `policies.secrecy` has the rule for containers."""


@policy(
    obligation="All Docker resources must be on one engine, and all of Proxmox on one API.",
    remedy="Use one provider of each; networks of one name on two engines are two networks.",
)
def one_engine(graph: Graph) -> Iterator[Violation]:
    """Yield resources on another engine or API than most: a site has one Docker-SRV and one Proxmox-SRV."""
    providers: list[TypedResource[Any]] = [*graph.of(DockerProvider), *graph.of(ProxmoxProvider)]
    places = {view.resource.urn: view.inputs.place for view in providers}
    for package, what in (("docker:", "engine"), ("proxmoxve:", "API")):
        made = [view for view in graph.views if view.resource.type.startswith(package)]
        often = Counter(places.get(view.resource.provider, "") for view in made)
        for view in made:
            place = places.get(view.resource.provider, "")
            if place != often.most_common(1)[0][0]:
                yield view, f"is on {what} {shown(place) or '(default)'}, where the others are not"


@policy(
    obligation="The engine must be that of the host whose rules are installed.",
    remedy="Let docker:host and hosts.<name>.ssh.address name one machine alike, or leave out both.",
    severity=Severity.CRITICAL,
)
def engine_on_the_declared_host(graph: Graph) -> Iterator[Violation]:
    """Yield engines of another machine than the declared one: its containers lack the host's rules."""
    docker = graph.topology.docker_host
    if docker is None:
        return  # `hosts-declared` refuses every Docker resource of such a site
    providers = graph.of(DockerProvider)
    for view in providers:
        if view.inputs.context:
            yield view, "context names an engine that can't be known"
        elif fault := _elsewhere(view.inputs.host, docker.ssh):
            yield view, fault
    made = [view for view in graph.views if view.resource.type.startswith("docker:")]
    if made and not providers and docker.ssh:
        yield docker.name, _elsewhere("", docker.ssh)


def _elsewhere(host: str, ssh: Ssh | None) -> str:
    """Return why an engine is not that of the declared host; empty if it is."""
    parts = split(host)
    local = not host or parts.scheme == "unix"
    if local and (parts.netloc or within(parts.path, "/run/user") or within(parts.path, "/home")):
        return f"host is {shown(host)}, a user's own engine, whose networks the host's rules don't see"
    if ssh is None:
        return "" if local else f"host is {shown(host)}, and the host's rules are installed on this machine"
    if local:
        return f"host is {shown(host) or 'not set'}, and the host's rules are installed on {ssh.address}"
    same = parts.hostname == ssh.address
    return "" if same else f"host is {shown(host)}, and the host's rules are installed on {ssh.address}"


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
    """Yield passwords, tokens and keys in plain text, which the state keeps as they are."""
    for trail, value in _texts(view.resource.inputs, ()):
        if is_secret(view, trail) or not value:
            continue
        if any(_CREDENTIAL.search(step) for step in trail if isinstance(step, str)):
            yield f"{dotted(trail)} is a login in plain text"
        elif LOGIN.search(value):
            yield f"{dotted(trail)} holds a login in plain text"
        elif PRIVATE.search(value):
            yield f"{dotted(trail)} holds a private key in plain text"


def _texts(value: object, at: Trail) -> Iterator[tuple[Trail, str]]:
    """Yield every text with its path, those in JSON as well: providers take nested settings in that form."""
    for trail, text in texts(value, at):
        found = [(trail, text)]
        if text.startswith(("{", "[")):
            with suppress(ValueError, RecursionError):
                found = [*_texts(json.loads(text), trail)]
        yield from found
