"""Asks a person on a terminal for what only they can give: a passphrase, secrets, and consent.

Without a terminal nothing is asked: consent is then refused, and Pulumi and the program say what is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from getpass import getpass
from pathlib import Path
from typing import Any, Final

from lab.errors import LabError
from topology.model import Topology
from topology.stack_file import keys_of, read

PASSPHRASE: Final = "PULUMI_CONFIG_PASSPHRASE"  # noqa: S105  # a variable's name
_TOKEN: Final = "proxmoxve:apiToken"  # noqa: S105  # a key's name
_HINTS: Final[Mapping[str, str]] = {
    _TOKEN: "homelab@pve!pulumi=…, as pveum printed it",
    "ssh:privateKey": "@ and the path of the key's file",
    "traefik:users": "name:bcrypt, as `htpasswd -nB admin` prints it",
}
"""Secret -> the form of its value."""


def passphrase(file: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the passphrase of a stack file as a variable, asked for where it is needed and not there.

    Raises LabError without a terminal, and where a new passphrase is typed in two ways.
    """
    known = {PASSPHRASE, f"{PASSPHRASE}_FILE"} & environment.keys()
    sealed = dict(read(file) or {})
    local = environment.get("PULUMI_BACKEND_URL", "").startswith("file:")
    if known or not local or sealed.get("secretsprovider", "passphrase") != "passphrase":
        return {}
    if not sys.stdin.isatty():
        raise LabError(f"{file.name}: its secrets are sealed by a passphrase; export {PASSPHRASE}")
    given = getpass(f"Passphrase of {file.name}: ")
    if "encryptionsalt" not in sealed and getpass("New, so once more: ") != given:
        raise LabError(f"{file.name}: the passphrases differ; nothing was changed")
    return {PASSPHRASE: given}


def missing(file: Path, topology: Topology, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield the keys of the secrets that a stack file lacks."""
    token = [_TOKEN] if topology.proxmox_host and "PROXMOX_VE_API_TOKEN" not in environment else []
    held = keys_of(file)
    yield from (key for key in (*token, *topology.secrets) if not held.get(key))


def secrets(keys: Iterable[str], save: Callable[[str, str], Any]) -> None:
    """Ask for each secret and save it; `@path` takes a file's text. Without a terminal, do nothing.

    Raises LabError for a file that cannot be read; what was saved before stays.
    """
    for key in keys if sys.stdin.isatty() else ():
        hint = f" ({_HINTS[key]})" if key in _HINTS else ""
        if given := getpass(f"{key}{hint}: "):
            save(key, _text(key, given) if given.startswith("@") else given)


def consent(change: str, again: str) -> None:
    """Return if the person agrees to a change; raises LabError if not, and without a terminal."""
    if not sys.stdin.isatty():
        raise LabError(
            f"{change}; nothing was changed, as there is no terminal to ask on: add YES=1 to {again}"
        )
    if input(f"{change}. Go on? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise LabError("nothing was changed")


def _text(key: str, given: str) -> str:
    path = Path(given.removeprefix("@")).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        raise LabError(f"{key}: {path}: {why}; name a text file that can be read") from None
