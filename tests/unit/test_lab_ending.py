"""What `make up` prints last."""

import re
from pathlib import Path
from typing import Any

import pytest

from lab import ending, paths
from tests.half import proxmox_alone
from tests.site import loaded
from topology.config import from_file, load
from topology.model import Topology
from topology.outputs import outputs
from topology.project import PROJECT

SITES = {
    "dev": from_file(PROJECT / "Pulumi.dev.yaml"),
    "sound": loaded(),
    "proxmox alone": load(proxmox_alone()),
}


def told(topology: Topology, *, in_lab: bool = True) -> str:
    """Return the end of an `up` of the stack dev."""
    there: Any = outputs(topology)
    shown = ending.addresses("dev", topology, there, in_lab=in_lab)
    return "\n".join([*ending.flows(topology, there), *shown])


@pytest.mark.parametrize("name", SITES)
def test_every_declared_flow_is_told(name: str) -> None:
    """The table has the declared flows and no other."""
    table = re.findall(r"^ +(\S+ -> \S+:\d+/\w+)$", told(SITES[name]), re.MULTILINE)
    assert sorted(table) == sorted(map(str, SITES[name].flows))


@pytest.mark.parametrize("name", SITES)
def test_no_address_is_missing(name: str) -> None:
    """Each page has its address; a site without an ingress has none, and no way to trust it."""
    said = told(SITES[name])
    pages = {route.page for route in SITES[name].routes}
    assert set(re.findall(r"^ +\S+    (https://\S+)", said, re.MULTILINE)) == pages
    assert ("curl --cacert" in said, "ssh -L" in said, "Open:" in said) == (bool(pages),) * 3


def test_what_follows_from_the_flows_is_told() -> None:
    """Beside "nothing else" stand the pages behind the ingress, and what hosts can do."""
    said = told(SITES["sound"])
    assert "Who may reach traefik also reaches its pages by it: grafana, prometheus-ui, site-1," in said
    assert (
        "Nothing else, between neighbours on one Docker network too; docker-srv and proxmox-srv can reach "
        "what runs on them." in said
    )


def test_a_stand_in_is_told() -> None:
    """In the lab the image of Grafana and three guests are stand-ins, and the two sites are not."""
    line = re.search(r"^Stand-ins.*", told(SITES["sound"]), re.MULTILINE)
    assert line
    assert line[0].partition(": ")[2] == "grafana, jellyfin, stirling-pdf, vaultwarden"


def test_the_authority_is_where_the_lab_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file for curl and for a browser is that of `HOMELAB_STATE`."""
    monkeypatch.setattr(paths, "STATE", tmp_path)
    assert f"curl --cacert {tmp_path}/tls/ca.crt https://grafana.homelab.localhost/" in told(SITES["sound"])


def test_real_hosts_show_no_login_of_the_lab() -> None:
    """Elsewhere passwords are the user's own, and nothing of the lab is named."""
    said = told(SITES["sound"], in_lab=False)
    assert "(a user of the secret traefik:users)" in said
    assert [word for word in ("homelab-lab", "--cacert", "Stand-ins") if word in said] == []
