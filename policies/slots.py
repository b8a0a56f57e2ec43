"""Rules for another project's stack, which may fill its slots of a site and do nothing else.

`policies.other_project` says what the site is for it; the rules for any container judge the stack besides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from policies.rule import Severity, policy
from resources.docker import DockerContainer, DockerProvider, RemoteImage, Volume
from resources.inputs import Ignored
from resources.typed import TYPES, TypedResource
from topology.index import TopologyIndex
from topology.project import NAME

_READ: Final = tuple({kind for kind in TYPES.values() if kind is not Ignored})
_TAKEN: Final = (DockerContainer, DockerProvider, RemoteImage, Volume)
"""What another project's stack may hold."""
_WORD: Final = re.compile(r"[a-zA-Z0-9_.]+")


@policy(
    *_READ,
    obligation="Another project's stack may hold containers for its slots, with their images and volumes.",
    remedy="Make nothing else in it; what the site needs besides belongs into the site's stack file.",
    severity=Severity.CRITICAL,
)
def other_projects_fill_slots(view: TypedResource[Any], _: TopologyIndex) -> Iterator[str]:
    """Yield what no slot takes from another project: networks, guests, commands, folders of the host."""
    if view.resource.project == NAME:
        return
    if not isinstance(view.inputs, _TAKEN):
        yield f"{view.resource.type} is no container, image or volume, and a slot takes nothing else"
    elif isinstance(view.inputs, DockerContainer):
        for bind in view.inputs.binds:
            if bind.host_path is not None or (bind.volume or "").startswith("/"):
                yield f"mounts a folder of the host at {bind.target}, and a slot has none"


@policy(
    Volume,
    obligation="Another project's volume must have the name of a slot before its own.",
    remedy="Name it <container>-<word>, with the container's name from the outputs; the word has no hyphen.",
    severity=Severity.CRITICAL,
)
def volumes_of_slots(view: TypedResource[Volume], topology: TopologyIndex) -> Iterator[str]:
    """Yield volumes of other names: the engine gives one that is there already, with its data."""
    if view.resource.project == NAME:
        return
    name = view.inputs.name
    if not any(
        name.startswith(f"{own}-") and _WORD.fullmatch(name[len(own) + 1 :])
        for own in topology.containers_by_name
    ):
        yield f"volume {name or '(unnamed)'} may be another service's"
