"""The tests' sound site, `tests/Pulumi.sound.yaml`: whole, as keys to change, and as a topology."""

import copy
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from topology.config import load
from topology.model import ROLES, App, GuestApp, GuestKind, Role, Topology
from topology.project import PROJECT

FILE = PROJECT / "tests" / "Pulumi.sound.yaml"
GONE = "<gone>"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n"
"""Content of every certificate file below $HOMELAB_STATE; no test verifies with it."""
PREFIX = "homelab-network:"
_STEP = re.compile(r"\[([^\]]+)\]|([^.\[\]]+)")
_NAMED = re.compile(r"\b(flows|unencrypted)\[(\+|[^\]\d][^\]]*)\]")


@cache
def _config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["config"]
    return found


def whole() -> dict[str, Any]:
    """Return all keys of the file as the program gets them, made-up secrets included; a fresh copy."""
    return copy.deepcopy(_config())


def configuration() -> dict[str, Any]:
    """Return the site's keys without their namespace; a fresh copy."""
    return own(whole())


def own(config: dict[str, Any]) -> dict[str, Any]:
    """Return a stack file's keys of the project's namespace, without the namespace."""
    return {key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)}


def loaded() -> Topology:
    """Return the site, newly loaded, so that tests share no cached values."""
    return load(configuration())


def changed(changes: dict[str, Any], values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the site's keys, or others, after changes.

    A change is a path to a new value; `[+]` appends, `<gone>` removes. A list entry is named by its position,
    or by the flow that it is or refers to.
    """
    values = configuration() if values is None else values
    for path, value in copy.deepcopy(changes).items():
        *way, last = (bracketed or plain for bracketed, plain in _STEP.findall(path))
        place: Any = values
        for step in way:
            place = place.setdefault(step, []) if last == "+" else place[_key(place, step)]
        if last == "+":
            place.append(value)
        elif value == GONE:
            del place[_key(place, last)]
        else:
            place[_key(place, last)] = value
    return values


def numbered(message: str, values: dict[str, Any]) -> str:
    """Return a message with the positions of the entries that it names: `flows[+]` is the last flow."""

    def position(found: re.Match[str]) -> str:
        key, entry = found.groups()
        entries = values[key]
        return f"{key}[{len(entries) - 1 if entry == '+' else _key(entries, entry)}]"

    return _NAMED.sub(position, message)


def named(message: str, values: dict[str, Any]) -> str:
    """Return a message in which entries are named as `numbered` reads them."""

    def name(found: re.Match[str]) -> str:
        key, position = found[1], int(found[2])
        entry = _about(values[key][position])
        appended = position >= len(configuration()[key])
        return f"{key}[{'+' if appended else entry}]"

    return re.sub(r"\b(flows|unencrypted)\[(\d+)\]", name, message)


def put(tree: Path) -> None:
    """Make the sound site the dev stack of a tree."""
    text = FILE.read_text(encoding="utf-8").replace("$schema=../docs/", "$schema=docs/", 1)
    (tree / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")


def state(folder: Path, key: str = "PEM") -> Path:
    """Write the files below $HOMELAB_STATE that the site names; returns the folder."""
    (folder / "tls").mkdir()
    for name in ("ingress.crt", "ca.crt"):
        (folder / "tls" / name).write_text(CERTIFICATE)
    (folder / "tls" / "ingress.key").write_text(key)
    return folder


def _key(place: Any, step: str) -> Any:
    """Return a step as a key of a mapping, or as the position of a list entry."""
    if not isinstance(place, list):
        return step
    if step.isdecimal():
        return int(step)
    return next(index for index, entry in enumerate(place) if _about(entry) == step)


def _about(entry: Any) -> Any:
    return entry.get("flow") if isinstance(entry, dict) else entry


_DOCKER = [role for role, traits in ROLES.items() if traits.docker]
LISTS = {
    "<roles>": ", ".join(Role),
    "<VLAN roles>": " or ".join(role for role, traits in ROLES.items() if traits.vlan),
    "<Docker roles>": f"{', '.join(_DOCKER[:-1])} or {_DOCKER[-1]}",
    "<apps>": ", ".join(App),
    "<apps of guests>": ", ".join(GuestApp),
    "<kinds of guests>": " or ".join(GuestKind),
}
"""What messages list, in the notation of bad_configurations.yaml, so that a new row changes no message."""


def listed(text: str) -> str:
    """Return the text with each list in full."""
    for word, members in LISTS.items():
        assert word in text
        text = text.replace(word, members)
    return text


def unlisted(text: str) -> str:
    """Return the text with each list in the notation of bad_configurations.yaml, the longest list first."""
    for word, members in sorted(LISTS.items(), key=lambda item: -len(item[1])):
        text = text.replace(members, word)
    return text
