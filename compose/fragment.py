"""Prints a Compose file as a fragment of a stack file, with a comment on each guess."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compose import document, links, service, traefik
from compose.keys import keep, plain
from compose.lines import entry, flow, keys_of
from compose.mounts import Place
from compose.outcome import ComposeError, Draft, Link, Outcome, is_tainted, listed
from compose.words import misshapen

_PREFIXES: Final = {
    "frontend": "172.30.1.0/24",
    "query": "172.30.2.0/24",
    "backend": "172.30.3.0/24",
    "egress": "172.30.9.0/24",
}


@dataclass(frozen=True)
class Fragment:
    """The fragment's lines, and what was refused, a line each."""

    lines: tuple[str, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True)
class Choices:
    """What the user confirms: services that go out, profiles that are on, and what names begin with."""

    egress: Sequence[str] = ()
    profiles: Sequence[str] = ()
    prefix: str = ""
    ingress: str = "traefik"


def fragment(path: Path, choices: Choices) -> Fragment:
    """Return the fragment of a Compose file; raises ComposeError where a file cannot be read."""
    whole, notes, texts = document.read(path)
    outcome = Outcome(notes=list(notes), traefik=traefik.defined(whole["services"]))
    drafts = _drafts(whole, path, choices, outcome)
    unknown = [name for name in choices.egress if name not in {draft.name for draft in drafts}]
    if unknown:
        raise ComposeError(f"--egress {unknown[0]}: the fragment has no such service; name one of its own.")
    traefik.logins(drafts, outcome)
    found = links.links(drafts, outcome)
    hidden = keep(drafts, texts, outcome)
    found += links.shared(drafts, found, outcome)
    links.place(drafts, found, choices.egress)
    _order(drafts, outcome)
    lines = _lines(path, drafts, found, outcome, choices)
    return Fragment((*_masked(lines, hidden),), (*_masked(outcome.refused, hidden),))


def _masked(lines: Iterable[str], hidden: Sequence[str]) -> Iterator[str]:
    """Yield lines without any secret's text: the last guard, for what no other place has found."""
    for line in lines:
        text = line
        for each in hidden:
            text = text.replace(each, "<secret>")
        yield text


def _drafts(whole: dict[str, Any], path: Path, choices: Choices, outcome: Outcome) -> list[Draft]:
    place = _place(whole, path, outcome)
    names: dict[str, str] = {}
    for name in whole["services"]:
        fitting = re.sub(r"[^a-z0-9]+", "-", f"{choices.prefix}{name}".lower()).strip("-")
        fitting = fitting if fitting[:1].isalpha() else f"s-{fitting}"
        if fitting in names.values():
            raise ComposeError(f"{path}:1: two services would be named {fitting}; rename one.")
        names[name] = fitting
    drafts = []
    for name, each in whole["services"].items():
        given = _untainted(names[name], each, outcome)
        profiles = [str(profile) for profile in listed(given.get("profiles"))]
        if profiles and not {*profiles} & {*choices.profiles}:
            told = f"it is of the profile {', '.join(profiles)}; --profile {profiles[0]} takes it"
            outcome.note(f"services.{names[name]} is left out: {told}")
            continue
        if key := misshapen(given):
            raise ComposeError(
                f"{document.where(path, name)}: services.{name}.{key} has no form of Compose's."
            )
        try:
            draft = service.take(names[name], name, given, place, outcome)
        except (AttributeError, TypeError, ValueError, KeyError):
            told = f"services.{name} has a value of another form than Compose's; correct it."
            raise ComposeError(f"{document.where(path, name)}: {told}") from None
        drafts += [draft] if draft else []
    outcome.volumes = place.used
    return drafts


def _place(whole: dict[str, Any], path: Path, outcome: Outcome) -> Place:
    """Return the file's sections; refuses unknown ones; raises ComposeError."""
    for key in whole.keys() - {"services", "volumes", "networks", "secrets", "configs", "name", "version"}:
        remedy = "run `docker compose config`, and read what it prints"
        outcome.refuse(key, "would read other files, or is not known", remedy)
    for key in ("volumes", "networks"):
        if is_tainted(whole.get(key)):
            raise ComposeError(f"{path}:1: {key} holds a secret; write it out.")
    section = {key: whole.get(key) or {} for key in ("volumes", "secrets", "configs")}
    if not all(isinstance(each, dict) for each in section.values()):
        raise ComposeError(f"{path}:1: volumes, secrets and configs are mappings; correct them.")
    return Place(
        path.parent, section["volumes"], section["secrets"], section["configs"], {}, _shared(whole), {}
    )


def _untainted(name: str, given: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Return a service without the keys that a secret variable is a part of; variables take secrets."""
    remedy = "give the program a file with secrets, or a variable with {secret: <key>}"
    tainted = [key for key, value in given.items() if key != "environment" and is_tainted(value)]
    for key in tainted:
        outcome.refuse(f"services.{name}.{key}", "holds a secret, which every inspection shows", remedy)
    return {key: value for key, value in given.items() if key not in tainted}


def _shared(whole: dict[str, Any]) -> frozenset[str]:
    """Return the files with variables that several services name."""
    files = Counter(
        str(each.get("path") if isinstance(each, dict) else each)
        for given in whole["services"].values()
        for each in listed(given.get("env_file"))
    )
    return frozenset(file for file, count in files.items() if count > 1)


def _order(drafts: list[Draft], outcome: Outcome) -> None:
    for draft in drafts:
        waits: dict[str, str] = {}
        for name, condition in draft.waits.items():
            other = next((each for each in drafts if name in each.aliases), None)
            if other is None or other is draft:
                continue
            check = other.keys.get("healthcheck") or {}
            is_checked = (
                bool(check.get("test")) and check.get("test") != ["NONE"] and not check.get("disable")
            )
            if condition == "service_healthy" and not is_checked:
                told = f"{other.name} has no healthcheck in the file, so it is only started first"
                outcome.note(f"services.{draft.name}.depends_on: {told}")
            waits[other.name] = condition if is_checked else "service_started"
        if "service_healthy" in waits.values():
            draft.keys["depends_on"] = {name: {"condition": condition} for name, condition in waits.items()}
        elif waits:
            draft.keys["depends_on"] = [*waits]


def _lines(
    path: Path, drafts: list[Draft], found: list[Link], outcome: Outcome, choices: Choices
) -> Iterator[str]:
    yield f"# From {path.name}, for Pulumi.<stack>.yaml. Read each line marked guessed; nothing was changed."
    yield from (f"# refused: {line}" for line in outcome.refused)
    yield from (f"# note: {line}" for line in outcome.notes)
    if not drafts:
        yield "# No service of the file can be declared."
        return
    yield "config:"
    zones = [zone for zone in _PREFIXES if any(zone in draft.zones for draft in drafts)]
    yield "  homelab-network:zones: # without those that the stack file has, by these or other names"
    yield from (f"    {zone}: {{role: {zone}, prefix: {_PREFIXES[zone]}}}" for zone in zones)
    yield from _to_add(drafts, choices)
    yield "  homelab-network:services:"
    for draft in drafts:
        yield f"    {draft.name}:"
        for key, value in keys_of(draft, drafts).items():
            yield from entry(key, value, 6)
    if outcome.volumes:
        yield "  homelab-network:volumes:"
        for name, volume in outcome.volumes.items():
            yield from entry(name, volume, 4)
    yield from _flow_lines(drafts, found, choices)
    if bare := links.unencrypted(drafts, found):
        yield "  homelab-network:unencrypted: # guessed: nothing in the file sets up TLS between them"
        yield from (f"    - {{flow: {link.flow}, reason: the Compose file sets up no TLS}}" for link in bare)
    if outcome.exceptions:
        yield "  # What was refused above could be allowed, in place of the better way, until a day:"
        yield "  # homelab-network:exceptions:"
        for each in outcome.exceptions:
            keys = {**each, "reason": each["reason"], "owner": "you", "expires": "<day>"}
            yield f"  #   - {flow(keys)}"
    if outcome.secrets:
        yield "# Before the preview, type these; each asks for the secret, or reads the file:"
        yield from (f"#   {command}" for command in outcome.secrets.values())


def _entries(drafts: list[Draft]) -> list[str]:
    """Return the ports of the ingress that streams need."""
    return [*dict.fromkeys(entry for draft in drafts for entry, *_ in draft.streams)]


def _to_add(drafts: list[Draft], choices: Choices) -> Iterator[str]:
    """Yield what the streams need of the ingress."""
    if entries := [entry.removesuffix("/tcp") for entry in _entries(drafts)]:
        yield f"  # Add to the ports of {choices.ingress}: {', '.join(entries)}"


def _flow_lines(drafts: list[Draft], found: list[Link], choices: Choices) -> Iterator[str]:
    routes = [
        Link(choices.ingress, draft.name, port, certain, why)
        for draft in drafts
        for port, certain, why in (*draft.routes, *(stream[1:] for stream in draft.streams))
    ]
    out = [draft for draft in drafts if draft.name in choices.egress]
    if routes or found or out:
        yield "  homelab-network:flows:"
    yield from (f"    - {link.flow} # {link.comment}" for link in (*routes, *found))
    for port in _entries(drafts):
        why = "guessed: write internet in place of management where everyone may use it"
        yield f"    - management -> {choices.ingress}:{port} # {why}"
    for draft in out:
        yield f"    - {draft.name} -> internet:443/tcp # certain: confirmed by --egress"
        yield f"    - {draft.name} -> internet:53/udp # certain: names for it"
    own = {str(plain(draft.keys.get("host", ""))) for draft in drafts}
    for draft in drafts:
        place = links.going_out(draft, own)
        if place and draft.name not in choices.egress:
            why = f"guessed: {place} is a URL of another machine; --egress {draft.name} confirms it"
            yield f"    # - {draft.name} -> internet:443/tcp # {why}"
