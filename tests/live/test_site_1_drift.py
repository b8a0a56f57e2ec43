"""`make drift` on the running dev stack: what it reports, what it ignores, and that it writes nothing."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import paths
from rendered import host_rules
from tests.live.sabotage import NODE, api, image
from tests.live.site import Site, command, make
from topology.config import from_file

TOPOLOGY = from_file(paths.PROJECT / "Pulumi.dev.yaml")


def drift(site: Site, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `make drift`; the state's files are the same before and after."""
    before = state()
    done = command(
        sys.executable,
        "-m",
        "commands",
        "drift",
        environment={**site.environment, **environment},
        seconds=300,
    )
    assert before
    assert state() == before
    return done


def state() -> dict[str, str]:
    """Return a digest of every file that the backend keeps."""
    files = (paths.STATE / ".pulumi").rglob("*")
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def a_rule_is_widened(_site: Site) -> None:
    """Remove the source from Jellyfin's rule."""
    api("PUT", "cluster/firewall/groups/jellyfin/0", delete="source")


def rules_change_places(_site: Site) -> None:
    """Move the datacenter's first rule to second place."""
    api("PUT", "cluster/firewall/rules/0", moveto=2)


def a_container_is_started(site: Site) -> None:
    """Start an undeclared container on backend."""
    site.docker("run", "--detach", "--name", "newcomer", "--network", "backend", image("prometheus-ui"))


def a_container_is_joined(site: Site) -> None:
    """Join Loki to frontend."""
    site.docker("network", "connect", "frontend", "loki")


def a_container_is_removed(site: Site) -> None:
    """Remove Node Exporter."""
    site.docker("rm", "--force", "node-exporter")


def a_guest_is_made(_site: Site) -> None:
    """Make an undeclared guest on VLAN 20."""
    api("POST", f"{NODE}/9000/clone", newid=999, name="extra", full=1)
    api("PUT", f"{NODE}/999/config", net0="virtio,bridge=vmbr1,tag=20")


def the_hosts_rules_are_flushed(_site: Site) -> None:
    """Flush Docker-SRV's own rules."""
    assert command("sh", "-c", host_rules.remove(TOPOLOGY)).returncode == 0


def the_switch_is_off(_site: Site) -> None:
    """Hide frames within a bridge from the rules."""
    Path(host_rules.SWITCHES[0]).write_text("0")


FOUND: dict[Callable[[Site], None], tuple[str, str]] = {
    a_rule_is_widened: ("jellyfin (Group) rules[0].source  dc/ingress-vlan20  dc/ingress-vlan20  -", "back"),
    rules_change_places: ("datacenter (Rules) rules[0].dport  8006  8006  22", "changes it back"),
    a_container_is_started: ("container newcomer  -  -  on backend", "leaves it"),
    a_container_is_joined: (
        "loki (Container) on networks  backend  backend  backend, frontend",
        "replaces it",
    ),
    a_container_is_removed: ("node-exporter (Container)  there  there  -", "creates it"),
    a_guest_is_made: ("guest 999 extra  -  -  on vmbr1 VLAN 20", "leaves it"),
    the_hosts_rules_are_flushed: ("docker-srv's own rules  there  there  missing", "replaces it"),
    the_switch_is_off: (
        "docker-srv's switch that shows its rules frames within a bridge  there  there  missing",
        "replaces it",
    ),
}
"""Each change with its row, and how `up` handles it."""


@pytest.mark.timeout(600)
def test_each_change_is_told_and_up_does_as_told(site: Site) -> None:
    """Every manual change has its row, and `make up` does exactly what the row says."""
    try:
        for change in FOUND:
            change(site)
        done = drift(site)
        again = make("up")
        left = drift(site)
    finally:
        site.docker("rm", "--force", "newcomer")
        api("DELETE", f"{NODE}/999/")
    squeezed = [re.sub(" {2,}", "  ", line) for line in done.stdout.splitlines()]
    unseen = [
        change.__name__
        for change, (row, remedy) in FOUND.items()
        if not any(line.startswith(row) and remedy in line for line in squeezed)
    ]
    assert (done.returncode, unseen) == (1, []), done.stdout
    # `make up` ends with the probe, which reports the undeclared container and guest.
    assert again.returncode != 0
    assert "newcomer is on backend" in again.stdout
    kept = [line for line in left.stdout.splitlines() if "leaves it" in line]
    assert (left.returncode, len(kept)) == (1, 2), left.stdout
    assert "2 differences" in left.stdout


def test_nothing_changed(site: Site) -> None:
    """After `make up`, without undeclared objects, the command finds nothing, says so and writes nothing."""
    before = state()
    done = make("drift")
    # Inside `make live`, make prints its working directory as well.
    assert "no drift: stack file, state and live network agree" in done.stdout.splitlines(), done.stdout
    assert (done.returncode, state()) == (0, before)
    assert before
    assert site


def test_a_host_that_can_not_be_asked_is_no_absence_of_drift(site: Site) -> None:
    """Where the API refuses the token, the command ends with 2 and the reason, not with an empty table."""
    done = drift(site, PROXMOX_VE_API_TOKEN="homelab@pve!pulumi=00000000-0000-4000-8000-000000000000")
    assert done.returncode == 2, done.stdout
    assert "401" in done.stdout
    assert "no drift" not in done.stdout
