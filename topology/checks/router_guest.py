"""Checks of a router that the stack makes as a guest: its node, its cards, and what they are plugged into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from topology.checks.site import Site, twice
from topology.fault import Fault
from topology.model import SSH, RouterGuest, RouterHost, RouterLeg, RouterSystem, RouterWan

_CARDS = 32
"""Network cards that a virtual machine of Proxmox may have."""


def router_guest(site: Site) -> Iterator[Fault]:
    """Check that a node can make the router, and that each card's network is known, once."""
    router = site.router
    if router is None:
        return
    if router.guest:
        yield from _made(site, router, router.guest)
        yield from _interfaces(router)
        yield from _plugged(site, router)
    else:
        for path, each in _cards(router).items():
            for key in ("bridge", *(("gateway",) if isinstance(each, RouterWan) else ())):
                if getattr(each, key):
                    yield Fault(
                        f"{path}.{key}",
                        f"is for a router that the stack makes, and {router.name} is there already",
                        f"remove it, or add hosts.{router.name}.guest",
                    )


def _cards(router: RouterHost) -> Mapping[str, RouterLeg | RouterWan]:
    """Return what each card is for, by its path."""
    path = f"hosts.{router.name}"
    found: dict[str, RouterLeg | RouterWan] = {f"{path}.legs.{n}": leg for n, leg in router.legs.items()}
    return found | ({f"{path}.wan": router.wan} if router.wan else {})


def _made(site: Site, router: RouterHost, guest: RouterGuest) -> Iterator[Fault]:
    path = f"hosts.{router.name}"
    if router.system is not RouterSystem.LINUX:
        yield Fault(
            f"{path}.guest", f"{router.system} does not set itself up", "write system: linux, or remove it"
        )
    if not site.nodes and not site.unreadable_in("hosts"):
        yield Fault(
            f"{path}.guest",
            "there is no Proxmox host to make it",
            "declare one of kind proxmox, or remove it",
        )
    node = site.node_of(guest)
    if node and not node.snippets:
        yield Fault(
            f"{path}.guest",
            "there is no storage for its cloud-init file",
            f"add hosts.{node.name}.snippets, or remove it",
        )
    if node and SSH in router.ports and not node.authorized_keys:
        yield Fault(
            f"{path}.ports",
            "22/tcp is open, and no key can log in",
            f"add hosts.{node.name}.authorized-keys, or remove the port",
        )


def _interfaces(router: RouterHost) -> Iterator[Fault]:
    cards = _cards(router)
    if len(cards) > _CARDS:
        yield Fault(
            f"hosts.{router.name}.legs", f"{len(cards)} networks need as many cards", f"have {_CARDS} at most"
        )
    names = [f"eth{number}" for number in range(len(cards))]
    for path, each in cards.items():
        if each.interface not in names:
            yield Fault(
                f"{path}.interface",
                f"{each.interface} is no card of the guest, which has one for each network",
                f"use {names[0]}-{names[-1]}",
            )


def _plugged(site: Site, router: RouterHost) -> Iterator[Fault]:
    """Check what each card is plugged into: the network of a zone of guests, or a bridge without guests."""
    taken = {host.bridge: f"hosts.{host.name}" for host in site.nodes}
    taken |= {zone.bridge: f"zones.{zone.name}" for zone in site.zones.values() if zone.bridge}
    yield from twice(
        ((f"{path}.bridge", each.bridge) for path, each in _cards(router).items() if each.bridge),
        "give each network a bridge of its own",
    )
    for path, each in _cards(router).items():
        name = each.zone if isinstance(each, RouterWan) else path.rpartition(".")[2]
        zone = site.zones.get(name or "")
        if name and (zone is None or zone.is_docker):
            continue  # which is a fault of its own
        if zone and zone.has_guests:
            if each.bridge:
                yield Fault(f"{path}.bridge", f"zones.{zone.name} says where it is", "remove it")
        elif each.bridge is None:
            yield Fault(
                f"{path}.bridge",
                f"missing, and {name or 'the internet'} is no zone of guests",
                "name the node's bridge on that network, like vmbr0",
            )
        elif each.bridge in taken:
            other = ", or name its zone" if isinstance(each, RouterWan) else ""
            yield Fault(
                f"{path}.bridge",
                f"{each.bridge} has the guests of {taken[each.bridge]}",
                f"name another{other}",
            )
    if router.wan:
        yield from _next(f"hosts.{router.name}.wan", router.wan)


def _next(path: str, wan: RouterWan) -> Iterator[Fault]:
    """Check that the next router is known where no server and no zone tells it."""
    own = wan.address
    if wan.gateway and (wan.zone or own is None):
        known = f"zones.{wan.zone}" if wan.zone else "the provider's server"
        yield Fault(f"{path}.gateway", f"{known} tells it", "remove it")
    elif wan.gateway and own and (own not in wan.gateway.network or own == wan.gateway.ip):
        yield Fault(
            f"{path}.gateway",
            f"{wan.gateway} is no other address in the network of {own}",
            "write the next router's",
        )
    elif own and not wan.zone and not wan.gateway:
        yield Fault(
            f"{path}.gateway",
            f"missing, and no server gives {own} one",
            "write the next router's, like 192.168.1.1/24",
        )
