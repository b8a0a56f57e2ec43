"""What is found in a Compose file, and the error for a file that cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


class ComposeError(Exception):
    """A Compose file, or a file beside it, that cannot be read; one line, with file and line."""


class Text(str):
    """A text of the file after interpolation. `secret` says whether a secret variable is a part of it."""

    __slots__ = ("secret",)

    def __new__(cls, text: str, *, secret: bool = False) -> Self:
        """Make a text."""
        made = super().__new__(cls, text)
        made.secret = secret
        return made

    secret: bool


def is_tainted(value: object) -> bool:
    """Whether a secret variable is a part of a text, or of any text in a list or mapping."""
    if isinstance(value, dict):
        return any(map(is_tainted, value.values()))
    if isinstance(value, list):
        return any(map(is_tainted, value))
    return isinstance(value, Text) and value.secret


def listed(value: Any) -> list[Any]:
    """Return a value that may be one or several as a list."""
    return value if isinstance(value, list) else [] if value is None else [value]


@dataclass(frozen=True)
class Noted:
    """A value of the fragment with the comment behind it."""

    value: Any
    comment: str


@dataclass(frozen=True)
class Link:
    """A flow that something in the file suggests."""

    source: str
    destination: str
    port: str
    is_certain: bool
    why: str

    @property
    def flow(self) -> str:
        """The flow in a stack file's words."""
        return f"{self.source} -> {self.destination}:{self.port}"

    @property
    def comment(self) -> str:
        """Why the flow is proposed."""
        return f"{'certain' if self.is_certain else 'guessed'}: {self.why}"


@dataclass(frozen=True)
class Traefik:
    """What Traefik's labels refer to and other services of the file define, by name in lower case."""

    middlewares: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Options of each, such as `forwardauth.address`."""
    entrypoints: Mapping[str, str] = field(default_factory=dict)
    """Port of the host, like `2222/tcp`."""


@dataclass
class Outcome:
    """What was refused, left out and needed beside the services."""

    refused: list[str] = field(default_factory=list)
    """Lines of path, fault and remedy."""
    notes: list[str] = field(default_factory=list)
    exceptions: list[dict[str, str]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    """Configuration key -> the command that sets it."""
    volumes: dict[str, Any] = field(default_factory=dict)
    """Entries of the section `volumes` that the services need."""
    traefik: Traefik = field(default_factory=Traefik)
    keeps: bool = False
    """Whether what an exception allows is taken with one, since it runs so today; a file's is refused."""

    def refuse(self, path: str, fault: str, remedy: str) -> None:
        """Add a refusal, once."""
        line = f"{path}: {fault}; {remedy}."
        if line not in self.refused:
            self.refused.append(line)

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def need(self, rule: str, resource: str, why: str) -> None:
        """Add an exception that what was refused would need."""
        each = {"rule": rule, "resource": resource, "reason": why}
        if each not in self.exceptions:
            self.exceptions.append(each)

    def takes(self, refusal: tuple[str, str, str], rule: str, resource: str, why: str) -> bool:
        """Add an exception; returns whether its line is taken with it, after refusing it if it is not."""
        self.need(rule, resource, why)
        if not self.keeps:
            self.refuse(*refusal)
        return self.keeps


@dataclass
class Draft:
    """One service on its way into the fragment."""

    name: str
    image: str
    keys: dict[str, Any] = field(default_factory=dict)
    ports: dict[str, None] = field(default_factory=dict)
    """Ports that it listens on, like `80/tcp`, in the order in which they are found."""
    texts: list[tuple[str, str, str]] = field(default_factory=list)
    """Place, variable's name or nothing, and text, in which names of other services may stand."""
    routes: list[tuple[str, bool, str]] = field(default_factory=list)
    """Port, whether it is certain, and why."""
    waits: dict[str, str] = field(default_factory=dict)
    """Service as the file names it -> Compose's condition."""
    aliases: set[str] = field(default_factory=set)
    """Further names under which the others find it."""
    held: dict[str, str] = field(default_factory=dict)
    """Configuration key of a secret -> the place that holds it."""
    from_files: set[str] = field(default_factory=set)
    """Variables of files that other services name, too."""
    zones: list[str] = field(default_factory=list)
    pages: dict[int, str] = field(default_factory=dict)
    """Ports of further pages -> their host names."""
    streams: list[tuple[str, str, bool, str]] = field(default_factory=list)
    """Port of the ingress and own port, like `2222/tcp` and `22/tcp`, whether it is certain, and why."""
    login_at: str = ""
    """URL that Traefik asks whether a client may use it."""
    published: list[tuple[str, str]] = field(default_factory=list)
    """Port of the host and own port, like `2222` and `22/tcp`, of what is published and no route serves."""

    @property
    def is_front(self) -> bool:
        """Whether the ingress leads to it."""
        return bool(self.routes or self.streams)
