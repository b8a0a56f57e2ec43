"""The survey of a Proxmox API: the lab's own, by TLS, with guests that were made by plain calls."""

from collections.abc import Iterator
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from lab import paths, tls
from lab.proxmox.api import Proxmox
from survey import docker, proxmox
from survey.docker import RunningDocker, RunningEngine
from survey.errors import SurveyError
from survey.finding import SurveyFinding
from survey.findings import Findings
from survey.machine import RunningMachine
from survey.proxmox_api import ProxmoxApi
from survey.site import RunningSite
from tests.unit.test_lab_proxmox import NODE, TOKEN, Ask, add_bridge, served

DOCKER = RunningDocker(
    engine=RunningEngine(name="home", version="29.6.0", backend="iptables", endpoint=docker.__name__)
)
HERE = RunningMachine(addresses={IPv4Interface("192.0.2.1/24"): "eth0"})


@pytest.fixture
def pve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Ask, Proxmox]]:
    """The lab's API with the guests `web` (VLAN 10) and `vault` (VLAN 20), with cards that are filtered."""
    for name in ("STATE", "RUN", "CACHE"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    with served(tmp_path / "state.json", []) as (ask, node):
        node.networks["vmbr0"]["gateway"] = "192.0.2.254"
        add_bridge(ask)
        for number, name, vlan in ((101, "web", 10), (102, "vault", 20)):
            ask("POST", f"{NODE}/qemu/9000/clone", newid=number, name=name, full=1)
            ask(
                "PUT",
                f"{NODE}/qemu/{number}/config",
                net0=f"virtio=BC:24:11:00:00:{number - 40},bridge=vmbr1,tag={vlan},firewall=1",
                ipconfig0=f"ip=10.10.{vlan}.5/24,gw=10.10.{vlan}.1",
                cipassword="canary-4711",
            )
            ask("POST", f"{NODE}/qemu/{number}/status/start")
        yield ask, node


def surveyed(node: Proxmox, token: str = TOKEN) -> RunningSite:
    """Return the survey of the API beside a Docker host that runs nothing."""
    api = ProxmoxApi(node.url, token, trust=str(tls.bundle()))
    return RunningSite(DOCKER, HERE, proxmox.read(api))


def opened(site: RunningSite) -> list[SurveyFinding]:
    """Return the findings on guests."""
    return [f for f in Findings(site).sorted() if f.rule in {"guest-open", "proxmox-firewall-off"}]


def switched_on(ask: Ask, *guests: int, **options: Any) -> None:
    """Switch the firewall on at the datacenter and at guests."""
    ask("PUT", "/cluster/firewall/options", enable=1)
    for number in guests:
        ask("PUT", f"{NODE}/qemu/{number}/firewall/options", enable=1, **options)


def test_a_datacenter_without_firewall_is_one_finding(pve: tuple[Ask, Proxmox]) -> None:
    """Without the datacenter's firewall every guest is open to the LAN, and the finding says so once."""
    (found,) = opened(surveyed(pve[1]))
    assert (found.rule, found.sources, found.destination) == ("proxmox-firewall-off", ("lan",), "web, vault")
    assert found.change.startswith("pvesh set /cluster/firewall/options --enable 1")


def test_the_first_switch_that_is_off_is_named(pve: tuple[Ask, Proxmox]) -> None:
    """A guest whose own switch or card is off is open, and the change switches that on; the rest stays."""
    ask, node = pve
    switched_on(ask, 101)
    (found,) = opened(surveyed(node))
    assert (
        found.destination,
        found.change.startswith(f"pvesh set {NODE}/qemu/102/firewall/options --enable 1"),
    ) == (
        "vault",
        True,
    )
    switched_on(ask, 102)
    card = "virtio=BC:24:11:00:00:61,bridge=vmbr1,tag=10"
    ask("PUT", f"{NODE}/qemu/101/config", net0=card)
    (found,) = opened(surveyed(node))
    assert found.change.startswith(f"qm set 101 --net0 {card},firewall=1")


def test_what_is_filtered_is_not_reached(pve: tuple[Ask, Proxmox]) -> None:
    """With all switches on only what a rule accepts reaches a guest: one source, one port."""
    ask, node = pve
    switched_on(ask, 101, 102)
    rule = {"type": "in", "action": "ACCEPT", "enable": 1, "proto": "tcp", "dport": "443"}
    ask("POST", f"{NODE}/qemu/102/firewall/rules", source="10.10.10.5", **rule)
    site = surveyed(node)
    assert opened(site) == []
    flows = {(flow.source, flow.destination, str(flow.port)) for flow in site.reachability.flows()}
    assert {flow for flow in flows if flow[1] == "vault"} == {("web", "vault", "443/tcp")}
    assert {to for source, to, _ in flows if source == "lan"} == {"pve1"}


def test_a_token_without_rights_sees_nothing_and_says_so(pve: tuple[Ask, Proxmox]) -> None:
    """What a token may not read counts as open and is listed; a wrong token is an error in one line."""
    ask, node = pve
    switched_on(ask, 101, 102)
    site = surveyed(node, granted(node, "/vms", "VM.Audit"))
    assert [each.rule for each in opened(site)] == ["proxmox-firewall-off"]
    assert any("cluster/firewall/options, which the token may not read" in each for each in site.unseen)
    with pytest.raises(SurveyError, match=r"^https://127\.0\.0\.1:\d+: answers 401 to GET version; check"):
        surveyed(node, token=TOKEN + "1")


def test_an_auditors_rights_are_enough(pve: tuple[Ask, Proxmox]) -> None:
    """The privileges of PVEAuditor alone let everything be read."""
    node = pve[1]
    site = surveyed(node, granted(node, "/", "Datastore.Audit", "SDN.Audit", "Sys.Audit", "VM.Audit"))
    assert {"pve1", "web", "vault"} <= set(site.reachability.names)
    assert not any("may not read" in each for each in site.unseen)


def test_what_a_node_does_not_answer_is_kept(pve: tuple[Ask, Proxmox]) -> None:
    """A request that the API does not know gives the absent value, and its path is kept for the list."""
    api = ProxmoxApi(pve[1].url, TOKEN, trust=str(tls.bundle()))
    assert api.get("nodes/pve1/nosuch", []) == []
    assert (api.unanswered, api.refused) == (["nodes/pve1/nosuch"], [])


def granted(node: Proxmox, path: str, *privileges: str) -> str:
    """Return a token with these privileges alone."""
    node.apitokens["reader@pve!survey"] = "0b6f"
    node.grant("reader@pve", path, *privileges)
    return "reader@pve!survey=0b6f"


@pytest.mark.parametrize(
    ("url", "token", "fault"),
    [
        ("http://pve:8006", TOKEN, "http://pve:8006: is not https"),
        ("https://pve:8006", "0b6f2a0e-0000", "PROXMOX_VE_API_TOKEN: is no token"),
    ],
)
def test_a_wrong_address_or_token_is_refused_before_it_is_used(url: str, token: str, fault: str) -> None:
    """An address without TLS and a token of the wrong form are one line each, without the value."""
    with pytest.raises(SurveyError, match=f"^{fault}; ") as refused:
        ProxmoxApi(url, token)
    assert token not in str(refused.value)


def test_an_unknown_certificate_is_refused(pve: tuple[Ask, Proxmox]) -> None:
    """A certificate of an authority that this machine does not trust ends the survey."""
    with pytest.raises(SurveyError, match="certificate"):
        proxmox.read(ProxmoxApi(pve[1].url, TOKEN))


def test_no_guests_password_leaves_the_decoder(pve: tuple[Ask, Proxmox]) -> None:
    """A guest's cloud-init password is in no decoded answer, so in no value of the survey."""
    ask, node = pve
    path = "nodes/pve1/qemu/101/config"
    assert "cipassword" in ask("GET", f"/{path}")
    assert "cipassword" not in ProxmoxApi(node.url, TOKEN, trust=str(tls.bundle())).get(path, {})
    site = surveyed(node)
    assert "canary-4711" not in repr(site) + repr(site.facts)


def test_guests_with_one_name_are_told_apart(pve: tuple[Ask, Proxmox]) -> None:
    """Two guests with one name have the number of the second in its name."""
    ask, node = pve
    ask("PUT", f"{NODE}/qemu/102/config", name="web")
    assert {"web", "web (qemu 102)"} <= set(surveyed(node).reachability.names)
