"""What `test_imports` runs on a machine of its own: importing what is in the way of a stack, as told.

The stack is the default one, on an engine and on the lab's Proxmox API, with things that have its names.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import tls, toolchain
from tests.clone import environment
from tests.parts import users_docker
from tests.unit.test_lab_proxmox import NODE, TOKEN, Ask, served

FIRST = '    - {flow: "site-1 -> internet:443/tcp", until: 2999-12-31, reason: updates of Debian}\n'
THINGS = {
    "docker:index/container:Container::grafana",
    "docker:index/network:Network::frontend",
    "docker:index/volume:Volume::grafana-data",
    "docker:index/volume:Volume::loki-data",
    "proxmoxve:cluster/firewall/security/groupLegacy:GroupLegacy::jellyfin",
    "proxmoxve:firewall/ipsetLegacy:IpsetLegacy::internet",
    "proxmoxve:network/linux/bridge:Bridge::vmbr1",
}
"""Ends of the URNs of what is in the way: one of each type whose message has an import."""
Shell = Callable[[str], str]


@pytest.fixture
def there(tmp_path: Path) -> Iterator[str]:
    """Make what is in the way on an engine and on the API; yields the API's URL."""
    with (
        users_docker.running(os.environ["USERS_ENGINE"], tmp_path),
        served(tmp_path / "api.json", []) as (ask, pve),
    ):
        on_docker()
        on_proxmox(ask)
        yield f"{pve.url}/"


def on_docker() -> None:
    """Make a container, a network and two volumes with names of the stack."""
    users_docker.page_image()
    users_docker.docker("network", "create", "--subnet", "198.51.100.0/24", "my-net")
    users_docker.docker("network", "create", "--subnet", "203.0.113.0/24", "frontend")
    for volume in ("grafana-data", "loki-data"):
        users_docker.docker("volume", "create", volume)
    users_docker.serve("grafana")


def on_proxmox(ask: Ask) -> None:
    """Make a group, an ipset and a bridge with names of the stack."""
    ask("POST", "/cluster/firewall/groups", group="jellyfin", comment="by hand")
    ask("POST", "/cluster/firewall/groups/jellyfin", type="in", action="ACCEPT")
    ask("POST", "/cluster/firewall/ipset", name="internet")
    ask("POST", f"{NODE}/network", iface="vmbr1", type="bridge", autostart=1)


@pytest.fixture
def shell(tree: Path, tmp_path: Path, there: str) -> Shell:
    """Return a function that runs a shell command in a clone, with the environment of its stack."""
    text = (tree / "Pulumi.dev.yaml").read_text(encoding="utf-8").replace("https://127.0.0.1:8006/", there)
    config = text[: text.index("  grafana:adminPassword")].replace(
        "  homelab-network:flows:\n", f"  homelab-network:flows:\n{FIRST}"
    )
    (tree / "Pulumi.adopted.yaml").write_text(config, encoding="utf-8")
    (tree / ".venv").symlink_to(sys.prefix)
    (tmp_path / "tls").mkdir()
    for name in ("ingress.crt", "ingress.key", "ca.crt"):
        (tmp_path / "tls" / name).write_text("-----BEGIN CERTIFICATE-----\n", encoding="utf-8")
    (tmp_path / "backend").mkdir()
    surroundings = environment(tree) | toolchain.environment()
    surroundings |= {
        "HOMELAB_STATE": str(tmp_path),
        "PROXMOX_VE_API_TOKEN": TOKEN,
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/backend",
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "PULUMI_SKIP_CONFIRMATIONS": "true",
        "SSL_CERT_FILE": str(tls.bundle()),
    }

    def run(command: str, status: int = 0) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tree, env=surroundings, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    run("pulumi stack init adopted")
    for key in ("grafana:adminPassword", "traefik:users"):
        run(f"pulumi config set --stack adopted --secret {key} x")
    return run


def told(shell: Callable[..., str]) -> list[str]:
    """Return the import commands that the pre-flight prints, each once."""
    said = shell(".venv/bin/python -m commands preflight --stack adopted", 1)
    return list(dict.fromkeys(re.findall(r"import it with `([^`]+)`", said)))


def adopted(shell: Shell) -> set[str]:
    """Return which of the things a preview does not create."""
    steps = json.loads(shell("pulumi preview --stack adopted --json"))["steps"]
    kept = {step["urn"] for step in steps if step["op"] not in {"create", "delete"}}
    return {thing for thing in THINGS for urn in kept if urn.endswith(thing)}


def test_what_is_in_the_way_is_imported_as_told(shell: Shell) -> None:
    """The printed commands import everything, before and after the components exist; a preview adopts it."""
    (from_file,) = told(shell)
    shell(from_file)
    assert adopted(shell) == THINGS
    assert told(shell) == []
    state = json.loads(shell("pulumi stack export --stack adopted"))["deployment"]["resources"]
    for urn in [each["urn"] for each in state if any(each["urn"].endswith(thing) for thing in THINGS)]:
        shell(f"pulumi state delete --force --stack adopted '{urn}'")
    one_by_one = told(shell)
    assert len(one_by_one) == len(THINGS)
    for command in one_by_one:
        shell(command)
    assert adopted(shell) == THINGS
    assert told(shell) == []
