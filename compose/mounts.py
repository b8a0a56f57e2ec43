"""Volumes, secrets and configs of a service: named volumes, folders of the host, and files."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compose.outcome import Draft, Noted, Outcome, is_tainted, listed
from compose.secrecy import in_words
from topology.checks.compose import RESERVED_NAMESPACES, is_path
from topology.compose_words import hint
from topology.host_folders import is_private, within
from topology.image_folders import has_programs
from topology.model import NamedVolume

_CLOCK: Final = ("/etc/localtime", "/etc/timezone")


@dataclass(frozen=True)
class Place:
    """Where a Compose file lies, and its top-level sections."""

    folder: Path
    volumes: dict[str, Any]
    secrets: dict[str, Any]
    configs: dict[str, Any]
    owners: dict[str, str]
    """Named volume -> the first service by name that writes it."""
    shared: frozenset[str]
    """Files with variables that several services name."""
    used: dict[str, Any]
    """Entries of a stack file's `volumes` that the services need."""


def key_of(service: str, name: str) -> str:
    """Return the configuration key of a service's secret."""
    space = f"for-{service}" if service in RESERVED_NAMESPACES else service
    return f"{space}:{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'secret'}"


def take(draft: Draft, service: dict[str, Any], place: Place, outcome: Outcome) -> bool:  # noqa: C901
    """Take volumes, secrets and configs; returns whether the engine's socket is among them."""
    for index, value in enumerate(listed(service.get("volumes"))):
        path = f"services.{draft.name}.volumes[{index}]"
        mount = _parts(value)
        if mount is None:
            outcome.refuse(path, "is no volume that can be read", "write it like data:/var/lib/wiki")
            continue
        kind, source, target, read_only = mount
        target = posixpath.normpath(target)
        if not is_path(target) or any(within(target, own) for own in ("/proc", "/sys", "/dev")):
            outcome.refuse(path, "is at no place for a volume", "write a path like /var/lib/wiki behind it")
            continue
        if is_tainted(value):
            outcome.refuse(path, "holds a secret in a path", "write the path out")
        elif source.endswith((".sock", ".socket")) or source in {"/run", "/var/run"}:
            if "docker" in source or "podman" in source or "containerd" in source or source.endswith("run"):
                return True
            outcome.refuse(path, f"mounts a socket of the host, {source}", "let it connect over the network")
        elif kind == "tmpfs":
            draft.keys.setdefault("tmpfs", []).append(target)
        elif kind == "volume":
            _volume(draft, path, (source, target, read_only), place, outcome)
        elif kind == "bind":
            _bind(draft, path, (source, target, read_only), place, outcome)
        else:
            outcome.refuse(path, f"is of type {kind}", "use a named volume, or a folder below /srv")
    for section, known, folder in (
        ("secrets", place.secrets, "/run/secrets/"),
        ("configs", place.configs, "/"),
    ):
        for value in listed(service.get(section)):
            _granted(draft, section, (value, known, folder), place, outcome)
    return False


def _parts(value: Any) -> tuple[str, str, str, bool] | None:
    """Return kind, source, target and whether it is read-only; None where it is in no known form."""
    if isinstance(value, dict):
        if not isinstance(value.get("target"), str):
            return None
        source = str(value.get("source") or "")
        return str(value.get("type", "volume")), source, value["target"], value.get("read_only") is True
    if not isinstance(value, str) or not value or re.match(r"[A-Za-z]:\\", value):
        return None
    source, *rest = value.split(":")
    if not rest:
        return "volume", "", source, False
    if len(rest) > 2:  # noqa: PLR2004
        return None
    options = rest[1].split(",") if len(rest) > 1 else []
    kind = "bind" if source.startswith(("/", ".", "~")) else "volume"
    return kind, source, rest[0], "ro" in options


def _named(name: str, target: str, read_only: bool) -> str:
    return f"{name}:{target}{':ro' if read_only else ''}"


def _volume(draft: Draft, path: str, mount: tuple[str, str, bool], place: Place, outcome: Outcome) -> None:
    source, target, read_only = mount
    name = source or re.sub(r"[^A-Za-z0-9]+", "-", target).strip("-") or "data"
    if not _is_data(draft, path, target, outcome):
        return
    if not (read_only or _writes(draft, path, name, place, outcome)):
        return
    given = place.volumes.get(source)
    if isinstance(given, dict) and (given.get("external") or given.get("driver_opts")):
        entry = {key: given[key] for key in ("external", "name", "driver", "driver_opts") if given.get(key)}
        if not entry.get("external"):
            entry.pop("name", None)
        try:
            NamedVolume.model_validate(entry)
        except ValueError:
            options = entry.get("driver_opts")
            kind = options.get("type") if isinstance(options, dict) else None
            other = ("has a driver or options that are not taken", "use a local volume or NFS")
            fault, remedy = hint("volume.driver_opts.type", kind) or other
            outcome.refuse(path, f"{name} {fault}", remedy)
            return
        place.used[name] = entry
        if "driver_opts" in entry:
            outcome.refuse(
                path,
                f"{name} is on a file server, which Docker-SRV reaches past every rule",
                "use a local volume, or add the exception below and the volume itself",
            )
            outcome.need("volumes-are-local", f"{draft.name}-{name}", "its data is on the file server")
            place.used.pop(name)
            return
    elif isinstance(given, dict) and given.get("driver") not in (None, "local"):
        outcome.refuse(path, f"{name} has a driver of its own", "use a local volume or NFS")
        return
    draft.keys.setdefault("volumes", []).append(_named(name, target, read_only))


def _is_data(draft: Draft, path: str, target: str, outcome: Outcome) -> bool:
    """Whether a mount leaves the image's programs as they are, or is taken with an exception."""
    refusal = (
        path,
        f"{target} is where the image has its programs",
        "mount data elsewhere, put programs into the image, or add the exception below and the line itself",
    )
    why = f"{target} is mounted over, where its image has programs"
    return not has_programs(target) or outcome.takes(refusal, "programs-are-the-images", draft.name, why)


def _writes(draft: Draft, path: str, name: str, place: Place, outcome: Outcome) -> bool:
    """Whether a service may write a volume: as the first, or with an exception for the later by name."""
    owner = place.owners.get(name, draft.name)
    place.owners[name] = min(owner, draft.name)
    if owner == draft.name:
        return True
    remedy = "mount it :ro in one, give each its own, or add the exception below and the line itself"
    refusal = (path, f"{owner} writes {name}, too", remedy)
    resource = max(owner, draft.name)
    return outcome.takes(refusal, "volumes-not-shared", resource, f"it writes {name}, as another does")


def _bind(draft: Draft, path: str, mount: tuple[str, str, bool], place: Place, outcome: Outcome) -> None:
    source, target, read_only = mount
    if source in _CLOCK:
        outcome.note(f"{path}: {source} is left out; the variable TZ says the same, like TZ: Europe/Berlin")
        return
    if source.startswith(("./", "../")) or source == ".":
        file = place.folder / source
        if file.is_file() or (not file.is_dir() and re.search(r"\.[A-Za-z]\w{1,9}$", source)):
            _file(draft, target, source, outcome)
            return
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", posixpath.normpath(source)).strip("-") or "data"
        if not _is_data(draft, path, target, outcome):
            return
        if not (read_only or _writes(draft, path, name, place, outcome)):
            return
        comment = f"guessed: in place of {source}; copy what is there into the volume"
        draft.keys.setdefault("volumes", []).append(Noted(_named(name, target, read_only), comment))
        return
    normal = posixpath.normpath(source)
    if source.startswith("~") or not source.startswith("/") or is_private(normal, "/var/lib/docker"):
        remedy = "use a named volume, or a folder of its own below /srv"
        outcome.refuse(path, f"{source} is a folder of the system or of a person", remedy)
    elif not _is_data(draft, path, target, outcome):
        return
    elif not read_only:
        remedy = "use a named volume, write :ro behind it, or add the exception below and the line itself"
        refusal = (path, f"{source} is a folder of the host that it could write", remedy)
        why = f"it writes {source} of the host"
        if outcome.takes(refusal, "host-folders-read-only", draft.name, why):
            draft.keys.setdefault("volumes", []).append(_named(normal, target, read_only=False))
    else:
        draft.keys.setdefault("volumes", []).append(_named(normal, target, read_only=True))


def _file(draft: Draft, target: str, source: str, outcome: Outcome) -> None:
    """Give a file that lies beside the Compose file as a secret, since its contents are unknown."""
    key = key_of(draft.name, posixpath.basename(target))
    outcome.secrets[key] = f"pulumi config set --secret {key} < {source}"
    comment = f"certain: the file {source}; kept as a secret, since it may hold one"
    draft.keys.setdefault("secrets", {})[target] = Noted(key, comment)
    draft.held[key] = target


def _granted(
    draft: Draft, section: str, given: tuple[Any, dict[str, Any], str], place: Place, outcome: Outcome
) -> None:
    value, known, folder = given
    name = value.get("source") if isinstance(value, dict) else value
    target = value.get("target") if isinstance(value, dict) else None
    path = f"services.{draft.name}.{section}"
    entry = known.get(str(name))
    if not isinstance(name, str) or not isinstance(entry, dict):
        outcome.refuse(path, "names what the file does not have", f"declare it below {section}")
        return
    target = str(target) if target else f"{folder}{name}"
    target = target if target.startswith("/") else f"/run/secrets/{target}"
    content = entry.get("content")
    is_clear = isinstance(content, str) and not is_tainted(content)
    if section == "configs" and is_clear and not in_words(str(content).replace(":", "=").splitlines()):
        draft.keys.setdefault("files", {})[target] = content
        return
    owner = place.owners.setdefault(f"{section}/{name}", draft.name)
    key = key_of(owner, name)
    source = entry.get("file")
    ending = f" < {source}" if isinstance(source, str) and not is_tainted(source) else ""
    outcome.secrets[key] = f"pulumi config set --secret {key}{ending}"
    draft.keys.setdefault("secrets", {})[target] = Noted(
        key, f"certain: {section} {name} of the Compose file"
    )
    draft.held[key] = target
