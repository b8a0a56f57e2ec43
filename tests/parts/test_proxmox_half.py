"""What real hosts need and the lab's stacks lack, made by the real provider on the lab's API alone."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import tls, toolchain
from lab.proxmox.api import ARCHIVE
from lab.proxmox.privileges import TOKEN
from tests.clone import environment
from tests.unit.test_lab_proxmox import served

SECRET = "0b6f2a0e-0000-4000-8000-000000000000"
TARGETS = [
    word for name in ("Guests", "DatacenterFirewall", "VlanBridge") for word in ("--target", f"**:{name}**")
]
CHANGES = {
    "bridge: vmbr1, template: 9000": "bridge: vmbr0, existing-bridge: true, snippets: local, template: 9000",
    "site-1: {zone": "site-1: {app: wordpress, zone",
    "jellyfin: {zone": f"jellyfin: {{kind: lxc, ostemplate: 'local:{ARCHIVE}', features: [nesting], "
    "volumes: [{path: /var/lib/jellyfin, size: 20}], zone",
    "    - management -> proxmox-srv:22/tcp\n": "    - management -> proxmox-srv:22/tcp\n"
    '    - {flow: "site-1 -> internet:443/tcp", until: 2999-12-31, reason: updates of Debian}\n'
    "    - management -> site-2:443/tcp\n",
}
Run = Callable[..., str]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the lab's API without a data plane, and its state file; the token has the guide's privileges."""
    with served(tmp_path / "api.json", [], f"{TOKEN}={SECRET}") as (_, pve):
        yield f"{pve.url}/", tmp_path / "api.json"


@pytest.fixture
def pulumi(tree: Path, tmp_path: Path, api: tuple[str, Path]) -> Run:
    """Return a function that runs Pulumi on the Proxmox half of a changed default stack."""
    toolchain.ensure(print)
    text = (tree / "Pulumi.dev.yaml").read_text(encoding="utf-8").replace("https://127.0.0.1:8006/", api[0])
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    config = text[: text.index("  grafana:adminPassword")]
    (tree / "Pulumi.adopted.yaml").write_text(config, encoding="utf-8")
    (tree / ".venv").symlink_to(sys.prefix)
    (tmp_path / "tls").mkdir()
    for name in ("ingress.crt", "ingress.key", "ca.crt"):
        (tmp_path / "tls" / name).write_text("-----BEGIN CERTIFICATE-----\n", encoding="utf-8")
    (tmp_path / "state").mkdir()
    surroundings = environment(tree) | toolchain.environment()
    surroundings |= {
        "HOMELAB_STATE": str(tmp_path),
        "PROXMOX_VE_API_TOKEN": f"{TOKEN}={SECRET}",
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "SSL_CERT_FILE": str(tls.bundle()),
    }

    def run(*words: str) -> str:
        done = subprocess.run(
            ["pulumi", *words, "--non-interactive"],
            cwd=tree, env=surroundings, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("stack", "init", "adopted")
    for key in ("grafana:adminPassword", "traefik:users"):
        run("config", "set", "--secret", key, "x")
    return run


def held(state: Path) -> dict[str, Any]:
    """Return the content of the API's state."""
    return dict(json.loads(state.read_text(encoding="utf-8")))


def test_guests_on_a_bridge_of_the_nodes_own(pulumi: Run, api: tuple[str, Path]) -> None:
    """Guests get their file, gateway and egress, stay unchanged, and are removed without the bridge.

    One of them is a system container, with a volume of its own and the firewall of a machine.
    """
    pulumi("up", "--yes", "--skip-preview", *TARGETS)
    made = held(api[1])
    machines = {machine["name"]: machine["config"] for machine in made["vms"]}
    assert machines["site-1"]["cicustom"] == "user=local:snippets/site-1.yaml"
    assert "cicustom" not in machines["site-2"]
    assert "bridge=vmbr0" in machines["site-1"]["net0"]
    gateways = {name: "gw=" in config.get("ipconfig0", "") for name, config in machines.items()}
    assert {name for name, routed in gateways.items() if routed} == {"site-1", "site-2"}
    ((vmid, container),) = [(one["vmid"], one["config"]) for one in made["cts"]]
    assert "firewall=1" in container["net0"]
    assert "mp=/var/lib/jellyfin,size=20G" in container["mp0"]
    assert (container["unprivileged"], container["features"]) == (1, "nesting=1")
    firewall = made["firewall"]["guests"][str(vmid)]
    assert {key: firewall["options"][key] for key in ("enable", "policy_in", "policy_out", "ipfilter")} == {
        "enable": 1,
        "policy_in": "DROP",
        "policy_out": "DROP",
        "ipfilter": 1,
    }
    assert [rule["action"] for rule in firewall["rules"]] == ["jellyfin"]
    node = made["networks"]
    assert node.keys() == {"vmbr0"}

    pulumi("preview", "--refresh", "--expect-no-changes", *TARGETS)

    pulumi("destroy", "--yes", "--skip-preview")
    left = held(api[1])
    assert ([machine["vmid"] for machine in left["vms"]], left["cts"]) == ([9000], [])
    assert left["networks"] == node
