"""A router as a virtual machine that this stack makes: its cards, and the file by which it sets itself up.

It has one card on each of its networks, so no card carries several VLANs, and its rules tell networks apart
by card. Note: Proxmox's cloud-init names the cards `eth0`, `eth1`… in their order, and so do the rules; under
other names nothing passes.
"""

from __future__ import annotations

from dataclasses import dataclass

from rendered.cloud_init import machine
from rendered.router_rules import kept, unit_name
from rendered.setup import Setup
from topology.model import SSH, ProxmoxHost, RouterGuest, RouterHost, RouterLeg, RouterWan, Topology


@dataclass(frozen=True, kw_only=True)
class Card:
    """A network card. `address` has its prefix length, or is `dhcp`; `bridge` is a bridge of the node.

    Proxmox's firewall is off: it would take forwarded packets, which have other machines' addresses, for
    forged ones.
    """

    mac: str
    bridge: str
    vlan: int | None
    address: str
    gateway: str | None = None
    firewall: bool = False


def cards(topology: Topology) -> tuple[Card, ...]:
    """Return the cards of the site's router, which must be a guest, in the order of their numbers."""
    router, _, _ = parts(topology)
    found = {leg.interface: _leg(topology, name, leg) for name, leg in router.legs.items()}
    if router.wan:
        found[router.wan.interface] = _wan(topology, router.wan)
    return tuple(found[each] for each in sorted(found, key=_number))


def parts(topology: Topology) -> tuple[RouterHost, RouterGuest, ProxmoxHost]:
    """Return the site's router, its machine and the machine's host; raises LookupError without one."""
    router = topology.router
    if router is None or router.guest is None:
        raise LookupError("the site's router is no guest")
    return router, router.guest, topology.node_of(router.guest)


def cloud_config(topology: Topology) -> str:
    """Return the router's cloud-init file: it loads the rules, and forwards only then."""
    router, _, host = parts(topology)
    unit = unit_name(topology)
    setup = Setup(
        packages=("nftables",),
        files=kept(topology),
        script=("systemctl daemon-reload", f"systemctl enable {unit}", f"systemctl restart {unit}"),
    )
    ssh = SSH in router.ports
    return machine(router.name, host, setup, ssh=ssh, root=ssh)


def _number(interface: str) -> int:
    return int(interface.removeprefix("eth"))


def _leg(topology: Topology, name: str, leg: RouterLeg) -> Card:
    router, guest, host = parts(topology)
    zone = topology.zones[name]
    return Card(
        mac=guest.mac(_number(leg.interface)),
        bridge=leg.bridge or zone.bridge or host.bridge,
        vlan=zone.vlan,
        address=f"{router.address(zone)}/{zone.prefix.prefixlen}",
    )


def _wan(topology: Topology, wan: RouterWan) -> Card:
    _, guest, host = parts(topology)
    zone = topology.zones[wan.zone] if wan.zone else None
    address, gateway = "dhcp", None
    if zone:
        address, gateway = f"{wan.address}/{zone.prefix.prefixlen}", str(zone.gateway)
    elif wan.address and wan.gateway:
        address, gateway = f"{wan.address}/{wan.gateway.network.prefixlen}", str(wan.gateway.ip)
    return Card(
        mac=guest.mac(_number(wan.interface)),
        bridge=wan.bridge or (zone and zone.bridge) or host.bridge,
        vlan=zone.vlan if zone else None,
        address=address,
        gateway=gateway,
    )
