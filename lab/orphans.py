"""What a killed run leaves: plugins that nobody asks any more, and things that were being created.

Owns which real thing stands behind which half-created resource. It touches only what the killed run's own
record names, and what such a resource replaces or sets on every run (volumes, options) it leaves alone. What
a reader would get wrong: a plugin is in a process group of its own and outlives a SIGKILL of its engine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

from lab import paths
from lab.daemon import Process
from lab.errors import LabError

Inputs = Mapping[str, Any]

_DOCKER = {
    "docker:index/container:Container": ("rm", "--force"),
    "docker:index/network:Network": ("network", "rm"),
}
_PROXMOX: Mapping[str, Callable[[Inputs], str]] = {
    "VmLegacy": lambda given: f"nodes/{given['nodeName']}/qemu/{given['vmId']:.0f}",
    "AliasLegacy": lambda given: f"cluster/firewall/aliases/{given['name']}",
    "IpsetLegacy": lambda given: f"cluster/firewall/ipset/{given['name']}",
    "GroupLegacy": lambda given: f"cluster/firewall/groups/{given['name']}",
    "BridgeLegacy": lambda given: f"nodes/{given['nodeName']}/network/{given['name']}",
    "RulesLegacy": lambda given: (
        f"nodes/{given['nodeName']}/qemu/{given['vmId']:.0f}/firewall/rules"
        if "vmId" in given
        else "cluster/firewall/rules"
    ),
}
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
    """Remove the real thing behind a half-created resource, if there is one; raises LabError if it stays."""
    kind, given = resource["type"], resource.get("inputs", {})
    if words := _DOCKER.get(kind):
        subprocess.run(
            ["docker", *words, given["name"]],
            env={**os.environ, **environment},
            capture_output=True,
            check=False,
            timeout=_SECONDS,
        )
    elif path := _PROXMOX.get(kind.rpartition(":")[2]):
        _remove_from_api(path(given), environment)


def _remove_from_api(path: str, environment: Mapping[str, str]) -> None:
    """Empty a rule list or an ipset, or delete the thing at `path`; one that is not there is fine."""
    with requests.Session() as api:
        api.trust_env = False  # else REQUESTS_CA_BUNDLE of the shell wins over the lab's own
        api.verify = environment["SSL_CERT_FILE"]
        api.headers["Authorization"] = f"PVEAPIToken={environment['PROXMOX_VE_API_TOKEN']}"
        url = f"{environment['PROXMOX_VE_ENDPOINT']}api2/json/{path}"
        try:
            if path.endswith("/rules") or "/ipset/" in path or "/groups/" in path:
                entries = api.get(url, timeout=_SECONDS).json().get("data") or []
                for entry in reversed(entries):
                    key = entry["cidr"] if "cidr" in entry else entry["pos"]
                    api.delete(f"{url}/{key}", timeout=_SECONDS)
            if "/qemu/" in path and not path.endswith("/rules"):
                api.post(f"{url}/status/stop", timeout=_SECONDS)
            if not path.endswith("/rules"):
                api.delete(url, timeout=_SECONDS)
        except requests.RequestException as error:
            raise LabError(f"{path}: {error}; start the lab and run it again") from error
