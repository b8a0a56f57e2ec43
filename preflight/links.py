"""What is in the way among Docker-SRV's interfaces: those for legs, and bridges that are others'."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from preflight.finding import Check, PreflightFinding
from rendered.host_rules import SWITCHES
from topology.model import Topology

Links = Mapping[str, Mapping[str, Any]]
"""Interface -> its row of `ip -json -details link`."""
_NO_LINK: Final[Mapping[str, Any]] = {}
_CLOSES: Final = re.compile(r"^(:FORWARD DROP |-A FORWARD -j (DROP|REJECT)\b)", re.MULTILINE)
"""What drops each packet that no rule of FORWARD accepts, as iptables-save prints it."""


def of_legs(topology: Topology, links: Links) -> Iterator[PreflightFinding]:
    """Yield a finding for each interface for legs that is missing, or is the interface of another VLAN.

    One of another kind with its name, such as an access port, carries the legs as it is.
    """
    trunk = topology.docker.trunk
    for zone in topology.legs.zones:
        name = topology.parent(zone)
        if name not in links:
            fault = "this machine has no such interface"
        elif zone.vlan and _vlan(links[name]) not in (None, (trunk, zone.vlan)):
            fault = "is VLAN {1} of {0}".format(*_vlan(links[name]) or ())
        else:
            continue
        yield PreflightFinding(
            Check.LEG_INTERFACE,
            f"interface {name}",
            f"{fault}, and it carries the legs on {zone.name}",
            f"make it, as VLAN {zone.vlan} of {trunk}" if zone.vlan else "name one that this machine has",
        )


def bridged(
    links: Links, rules: Collection[str], ours: Collection[str], switches: Iterable[str] = SWITCHES
) -> Iterator[PreflightFinding]:
    """Yield a finding for each bridge of others whose frames FORWARD would drop if it saw them.

    Docker-SRV's own rules need `bridge-nf-call-iptables`, which is one switch for all bridges. `rules` are
    what `iptables-save` and `ip6tables-save` print; without them nothing is known.
    """
    closed = [each for each in rules if _CLOSES.search(each)]
    if not closed or all(Path(switch).exists() and Path(switch).read_text() == "1\n" for switch in switches):
        return
    for name in sorted({str(each["master"]) for each in links.values() if "master" in each} - {*ours}):
        is_bridge = _kind(links.get(name, _NO_LINK)) == "bridge"
        if is_bridge and not all(_passes(name, each) for each in closed):
            yield PreflightFinding(
                Check.BRIDGED_FRAMES,
                f"bridge {name}",
                "what passes within it would meet FORWARD, which drops what no rule accepts: this project "
                "sets net.bridge.bridge-nf-call-iptables",
                f"accept it, at each boot: `iptables -I FORWARD -i {name} -o {name} -j ACCEPT`, and the same "
                "with ip6tables",
            )


def _passes(bridge: str, rules: str) -> bool:
    """Whether a rule accepts what passes within a bridge, or more than that."""
    name = re.escape(bridge)
    more = rf"(FORWARD|DOCKER-USER) (-[io] {name}|-m physdev --physdev-is-bridged)"
    comment = r'( -m comment --comment ("[^"]*"|\S+))?'
    accepts = rf"^-A (\S+ -i {name} -o {name}|{more}){comment} -j ACCEPT$"
    return re.search(accepts, rules, re.MULTILINE) is not None


def _kind(link: Mapping[str, Any]) -> str:
    return str(link.get("linkinfo", {}).get("info_kind", ""))


def _vlan(link: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the interface and tag of a VLAN interface; None for one of another kind.

    One whose interface is in another network namespace, which `ip` does not name, counts as of another kind.
    """
    is_vlan = _kind(link) == "vlan" and "link" in link
    return (link["link"], link["linkinfo"]["info_data"]["id"]) if is_vlan else None
