"""Removes what a killed run leaves in the lab: plugins without an engine, and half-created resources.

A half-created resource is removed when it bears its mark: the label of a container or network, the
description of a guest, the comment of a firewall object. A resource with another mark is the user's and
stays. Volumes and options stay as well: every run sets them again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

from lab import paths
from lab.daemon import Process
from lab.errors import LabError
from lab.process import run
from topology.model import MARK

Inputs = Mapping[str, Any]

_DOCKER: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "docker:index/container:Container": ("container", ".Config.Labels", ("rm", "--force")),
    "docker:index/network:Network": ("network", ".Labels", ("network", "rm")),
}
"""Type -> its name in `docker inspect`, the path of its labels, and the command that removes it."""


def _machine(given: Inputs) -> str:
    return f"nodes/{given['nodeName']}/qemu/{given['vmId']:.0f}"


def _container(given: Inputs) -> str:
    return f"nodes/{given['nodeName']}/lxc/{given['vmId']:.0f}"


def _scope(given: Inputs) -> str:
    if "containerId" in given:
        return _container({**given, "vmId": given["containerId"]})
    return _machine(given) if "vmId" in given else "cluster"


_PROXMOX: Mapping[str, tuple[Callable[[Inputs], str], str]] = {
    "VmLegacy": (_machine, "description"),
    "ContainerLegacy": (_container, "description"),
    "AliasLegacy": (lambda given: f"cluster/firewall/aliases/{given['name']}", "comment"),
    "IpsetLegacy": (lambda given: f"{_scope(given)}/firewall/ipset/{given['name']}", "comment"),
    "GroupLegacy": (lambda given: f"cluster/firewall/groups/{given['name']}", "comment"),
    "Bridge": (lambda given: f"nodes/{given['nodeName']}/network/{given['name']}", "comment"),
    "RulesLegacy": (lambda given: f"{_scope(given)}/firewall/rules", ""),
}
"""Type -> its path in the API, and the input that marks it; a list of rules is marked rule by rule."""
_SECONDS = 30
_PLUGINS = f"{paths.CACHE}/pulumi/plugins/"
_HOST = "/pulumi-language-python"


def end_plugins() -> None:
    """End plugins and language hosts from the lab's cache whose engine is gone."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            adopted = parent == 1 or Path(f"/proc/{parent}/comm").read_text().strip() == "systemd"
        except OSError:
            continue
        if adopted and any(word.startswith(_PLUGINS) or word.endswith(_HOST) for word in words[:2]):
            process = Process.of(int(folder.name))
            if process:
                process.end()


def remove(resource: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Remove the real object behind a half-created resource where it bears the resource's mark.

    Raises LabError where the object can't be queried or removed.
    """
    kind, given = resource["type"], resource.get("inputs", {})
    if kind in _DOCKER:
        _remove_from_engine(kind, given, environment)
    elif found := _PROXMOX.get(kind.rpartition(":")[2]):
        path, mark = found
        Api(environment).remove(path(given), given.get(mark, ""), given)


def _remove_from_engine(kind: str, given: Inputs, environment: Mapping[str, str]) -> None:
    what, place, words = _DOCKER[kind]
    try:
        shown = run(
            ["docker", what, "inspect", "--format", f"{{{{.Id}}}} {{{{json {place}}}}}", given["name"]],
            given["name"],
            env=environment,
        )
    except LabError:
        return  # there is none
    number, _, labels = shown.partition(" ")
    marks = {one["label"]: one["value"] for one in given.get("labels", ())}
    if marks and marks.items() <= (json.loads(labels) or {}).items():
        run(["docker", *words, number], given["name"], env=environment)


def labelled(stack: str, endpoint: str | None) -> tuple[list[str], list[str]]:
    """Return the names of containers and networks with a stack's label (`endpoint` None: the user's)."""
    which = ("--filter", f"label={MARK}={stack}", "--format")
    env = {"DOCKER_HOST": endpoint} if endpoint else {}
    containers = run(["docker", "ps", "--all", *which, "{{.Names}}"], "containers", env=env)
    networks = run(["docker", "network", "ls", *which, "{{.Name}}"], "networks", env=env)
    return sorted(containers.split()), sorted(networks.split())


class Api:
    """The lab's Proxmox API."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._url = f"{environment['PROXMOX_VE_ENDPOINT']}api2/json"
        self._session = requests.Session()
        self._session.trust_env = False  # else REQUESTS_CA_BUNDLE of the shell overrides the lab's own
        self._session.verify = environment["SSL_CERT_FILE"]
        self._session.headers["Authorization"] = f"PVEAPIToken={environment['PROXMOX_VE_API_TOKEN']}"

    def remove(self, path: str, mark: str, given: Inputs) -> None:
        """Remove the object at `path` if its description or comment is `mark`; clear a rule list of ours."""
        try:
            if path.endswith("/rules"):
                self._empty(path, {rule.get("comment", "") for rule in given.get("rules", ())})
            elif mark and self._mark(path) == mark.strip():
                if _is_guest(path):
                    self._session.post(f"{self._url}/{path}/status/stop", timeout=_SECONDS)
                self._empty(path, None)
                self._session.delete(f"{self._url}/{path}", timeout=_SECONDS)
        except requests.RequestException as error:
            raise LabError(f"{path}: {error}; start the lab and run it again") from error

    def _get(self, path: str) -> Any:
        return self._session.get(f"{self._url}/{path}", timeout=_SECONDS).json().get("data")

    def _mark(self, path: str) -> str | None:
        """Return the description or comment of an object; None where none has this name."""
        above, _, name = path.rpartition("/")
        if _is_guest(path):
            found = self._get(f"{path}/config") or {}
        elif "/firewall/" in path:
            named = [each for each in self._get(above) or () if name in {each.get("name"), each.get("group")}]
            found = named[0] if named else {}
        else:
            found = self._get(path) or {}
        told = [found[key] for key in ("description", "comment", "comments") if key in found]
        return str(told[0]).strip() if told else None

    def _empty(self, path: str, comments: set[str] | None) -> None:
        """Remove the entries of an ipset, group or rule list that have these comments (None: all)."""
        if not any(part in path for part in ("/ipset/", "/groups/", "/rules")):
            return
        for entry in reversed(self._get(path) or []):
            if comments is None or entry.get("comment", "").strip() in comments:
                key = entry["cidr"] if "cidr" in entry else entry["pos"]
                self._session.delete(f"{self._url}/{path}/{key}", timeout=_SECONDS)


def _is_guest(path: str) -> bool:
    """Whether a path of the API is a guest's own."""
    return ("/qemu/" in path or "/lxc/" in path) and "/firewall/" not in path
