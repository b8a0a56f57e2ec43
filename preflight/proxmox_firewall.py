"""What the stack's firewall meets on Proxmox: rules that are there already, and guests that it cuts off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from preflight.docker import PlannedSite, Rows
from preflight.finding import Check, PreflightFinding
from verify.inventory import Reader

_RULES: Final = "proxmoxve:firewall/rulesLegacy:RulesLegacy"


@dataclass(frozen=True, kw_only=True)
class Firewall:
    """Paths of rule lists that the stack will fill, with their lengths, and guests that would be cut off."""

    rules: Mapping[str, int]
    cut_off: Rows = ()


def read(site: PlannedSite, api: Reader, listed: Rows) -> Firewall:
    """Return the firewall as it is; `listed` are the guests of every node. Raises ProbeError."""
    own = {guest.vmid for guest in site.topology.guests}
    is_on = _is_on(api.get("cluster/firewall/options"))
    others = (
        () if is_on else (row for row in listed if int(row["vmid"]) not in own and not row.get("template"))
    )
    return Firewall(
        rules={path: len(api.get(path)) for _, path in _lists(site, listed)},
        cut_off=tuple(row for row in others if _would_be_cut_off(api, _path(row))),
    )


def findings(site: PlannedSite, firewall: Firewall, listed: Rows) -> Iterator[PreflightFinding]:
    """Yield a finding for each list with rules that are not the stack's, and each guest that is cut off."""
    for name, path in _lists(site, listed):
        made = any(urn.endswith(f"{_RULES}::{name}") for urn in site.state.urns | site.ignored)
        if firewall.rules[path] and not made:
            yield PreflightFinding(
                Check.FIREWALL_RULES_TAKEN,
                path,
                f"{firewall.rules[path]} there already, and Proxmox's provider adds none beside others",
                f"declare them as flows, and remove them with `pvesh delete /{path}/0`, as often",
            )
    for row in firewall.cut_off:
        name = row.get("name", "this guest")
        yield PreflightFinding(
            Check.GUEST_CUT_OFF,
            f"vmid {row['vmid']}",
            f"the firewall of {name} is on without a rule, and would drop everything once the "
            "datacenter's is on, which this stack switches on",
            f"switch it off with `pvesh set /{_path(row)}/firewall/options --enable 0`, or give it rules",
        )


def _lists(site: PlannedSite, listed: Rows) -> Iterator[tuple[str, str]]:
    """Yield resource and path of each list of rules that the stack makes and that may have some already."""
    hosts = site.topology.proxmox_hosts
    if len(hosts) == 1:
        yield "datacenter", "cluster/firewall/rules"
    else:
        yield from ((host.name, f"nodes/{host.node}/firewall/rules") for host in hosts)
    paths = {int(row["vmid"]): _path(row) for row in listed}
    for guest in site.topology.guests:
        if guest.existing_mac and guest.vmid in paths:
            yield guest.name, f"{paths[guest.vmid]}/firewall/rules"


def _would_be_cut_off(api: Reader, path: str) -> bool:
    """Whether a guest's firewall is on, for a card too, drops what no rule accepts, and has none."""
    options = api.get(f"{path}/firewall/options")
    if not _is_on(options) or options.get("policy_in") == "ACCEPT":
        return False
    cards = (str(value) for key, value in api.get(f"{path}/config").items() if key.startswith("net"))
    return any("firewall=1" in card.split(",") for card in cards) and not api.get(f"{path}/firewall/rules")


def _is_on(options: Mapping[str, Any]) -> bool:
    return str(options.get("enable", 0)) == "1"


def _path(row: Mapping[str, Any]) -> str:
    return f"nodes/{row['node']}/{row['kind']}/{row['vmid']}"
