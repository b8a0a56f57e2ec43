"""Checks of the router: its legs, its addresses, and the addresses of what it tells apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Final

from topology.checks.site import Reason, Site, twice
from topology.fault import Fault, nearest
from topology.model import INTERNET, Container, DockerHost, Flow, Guest, Role, RouterHost, RouterSystem

_LONGEST: Final = 30
"""Prefix length of a network with room for a router and one more machine."""


def routers(site: Site) -> Iterator[Fault]:
    """Check that the router joins networks, and that its rules can name them and the hosts."""
    router = site.router
    if router is None:
        return
    path = f"hosts.{router.name}"
    if len(router.legs) + (router.wan is not None) < 2:  # noqa: PLR2004  # one network is not joined to any
        yield Fault(path, "joins no two networks", "give it legs on two zones, or one and a wan")
    named = [(f"{path}.legs.{name}.interface", leg.interface) for name, leg in router.legs.items()]
    named += [(f"{path}.wan.interface", router.wan.interface)] if router.wan else []
    yield from twice(named, "give each network an interface of its own")
    if router.ssh and router.system is not RouterSystem.LINUX:
        yield Fault(f"{path}.ssh", f"{router.system} gets its rules by hand", "remove it")
    yield from _legs(site, router)
    yield from _wan_zone(site, router)
    used = {flow.port for flow in site.flows.values() if is_public(site, flow)}
    for index, port in enumerate(router.wan.public if router.wan else ()):
        if port not in used and not site.unreadable_in("flows") and not site.unreadable_in("services"):
            yield Fault(
                f"{path}.wan.public[{index}]",
                f"no flow leads from {INTERNET} to a guest's {port}",
                "declare one, or remove it",
            )
    yield from _reached(site, router)
    for name, host in site.hosts.items():
        if not isinstance(host, RouterHost) and (host.address is None or not int(host.address)):
            yield Fault(
                f"hosts.{name}.address",
                f"is missing, and rules of {router.name} name it",
                "write the host's own",
            )


def _reached(site: Site, router: RouterHost) -> Iterator[Fault]:
    """Check that its rules are not installed on another machine of a zone that it has a leg on."""
    for name, leg in router.legs.items():
        zone = site.zones.get(name)
        if zone is None or router.ssh is None or not router.ssh.address.replace(".", "").isdecimal():
            continue
        with suppress(ValueError):
            address, own = IPv4Address(router.ssh.address), leg.address or zone.prefix[1]
            if address in zone.prefix and address != own:
                fault = f"{address} is in {name}, where the router is {own}"
                yield Fault(f"hosts.{router.name}.ssh.address", fault, f"write {own}")


def _legs(site: Site, router: RouterHost) -> Iterator[Fault]:
    path, wan = f"hosts.{router.name}", router.wan
    for name, leg in router.legs.items():
        at, zone = f"{path}.legs.{name}", site.zones.get(name)
        if zone is None:
            if not site.is_unreadable(name, "zones"):
                near = nearest(name, site.zones)
                yield Fault(
                    at, "there is no such zone", f"write {near}" if near else "declare it under zones"
                )
            continue
        if zone.is_docker:
            yield Fault(at, f"{name} is a Docker network", "name the zone that its host is in")
        elif (around := site.network_of(zone)) != zone:
            yield Fault(at, f"{name} is on the network of zones.{around.name}", f"write {around.name}")
        if zone.prefix.prefixlen > _LONGEST:
            yield Fault(at, f"{zone.prefix} has no address for a router", f"use /{_LONGEST} or shorter")
        elif leg.address and (
            leg.address not in zone.prefix or leg.address in (zone.prefix[0], zone.prefix[-1])
        ):
            first, last = zone.prefix[1], zone.prefix[-2]
            yield Fault(
                f"{at}.address", f"{leg.address} is no address in {zone.prefix}", f"use one of {first}-{last}"
            )
        if wan and wan.address and wan.address in zone.prefix:
            yield Fault(
                f"{path}.wan.address", f"{wan.address} is in zones.{name}, where it has a leg", "correct one"
            )


def _wan_zone(site: Site, router: RouterHost) -> Iterator[Fault]:
    """Check that the WAN's zone is a network of guests without a leg, which has the WAN's address."""
    wan, path = router.wan, f"hosts.{router.name}.wan"
    if wan is None or wan.zone is None or site.is_unreadable(wan.zone, "zones"):
        return
    zone = site.zones.get(wan.zone)
    if zone is None or not zone.has_guests or site.network_of(zone) != zone:
        known = ", ".join(each.name for each in site.zones.values() if each.has_guests)
        yield Fault(
            f"{path}.zone", f"{wan.zone} is no zone of guests", f"use one of {known}, or leave it out"
        )
    elif wan.zone in router.legs:
        yield Fault(f"{path}.zone", f"{wan.zone} has a leg", "remove one")
    elif wan.address is None:
        yield Fault(
            f"{path}.address", f"is missing, and guests of {wan.zone} ask it", "write the router's own"
        )
    elif wan.address not in zone.prefix:
        yield Fault(f"{path}.address", f"{wan.address} is not in zones.{zone.name}", "correct one")
    taken: dict[IPv4Address | None, str] = {each.address: f"services.{each.name}" for each in site.guests}
    taken |= {
        each.address: f"hosts.{name}" for name, each in site.hosts.items() if not isinstance(each, RouterHost)
    }
    if wan.address and wan.address in taken:
        yield Fault(f"{path}.address", f"{wan.address} is that of {taken[wan.address]}", "give each its own")


def is_public(site: Site, flow: Flow) -> bool:
    """Whether a flow leads from the internet to a guest, by a port that the router has for that."""
    wan = site.router.wan if site.router else None
    to_guest = isinstance(site.services.get(flow.destination), Guest)
    return flow.source == INTERNET and to_guest and wan is not None and flow.port in wan.public


def exposed(site: Site, flow: Flow) -> Reason | None:
    """Return why the internet may not reach a guest beside the ingress; None where it may."""
    guest = site.services.get(flow.destination)
    zone = site.zones.get(guest.zones[0]) if isinstance(guest, Guest) else None
    if zone and zone.traits.alone:
        return f"opens {zone.name}, which is {zone.role}, beside the ingress", "let the ingress serve it"
    if zone and any(
        each.role is Role.MANAGEMENT and site.network_of(each) == zone for each in site.zones.values()
    ):
        return f"opens {zone.name}, where management is", "give the guest a zone of its own"
    router, routing = site.router, site.routing
    if zone and router and routing and routing.is_before(zone) and zone.name not in router.legs:
        remedy = "give the guest a zone with a leg"
        return f"can never work: {router.name} leads no port to {zone.name}, where its wan is", remedy
    return None


def doubled(site: Site, flow: Flow) -> Reason | None:
    """Return what else answers on a flow's port at the router's address; None where nothing does."""
    routing = site.routing
    if routing is None or not (routing.at_wan(flow) or _led_astray(site, flow)):
        return None
    same = (each for each in site.flows.values() if each.port == flow.port and routing.at_wan(each))
    first = next((each.destination for each in same), flow.destination)
    if first == flow.destination:
        return None
    remedy = "use another port, or remove one"
    if not routing.at_wan(flow):
        remedy = f"write hosts.{routing.router.name}.wan.address, or {remedy}"
    return f"can never work: {routing.router.name} leads this port to {first}", remedy


def _led_astray(site: Site, flow: Flow) -> bool:
    """Whether a flow comes in by the WAN of a VyOS that forwards ports for each address asked there."""
    router, crossing = site.router, site.routing and site.routing.crossing(flow)
    wan = router.wan if router and router.system is RouterSystem.VYOS else None
    return bool(wan and not wan.address and crossing and crossing.source.interface == wan.interface)


def off_road(site: Site, flow: Flow) -> Reason | None:
    """Return why a flow cannot cross the router that is declared; None where it can, or need not."""
    routing, router = site.routing, site.router
    if routing is None or router is None or routing.meets(flow):
        return None
    for name, other in ((flow.source, flow.destination), (flow.destination, flow.source)):
        zone = _home(site, name)
        if _without_address(site, name):
            continue  # which is a fault of its own
        if name == router.name or routing.side(name) or (zone and zone == _home(site, other)):
            continue
        if zone and site.zones[zone].has_guests:
            return (
                f"can never work: {router.name} has no leg on {zone}",
                f"add hosts.{router.name}.legs.{zone}",
            )
        if other == router.name or routing.side(other):
            return (
                f"can never work: {router.name} has no way to {name}",
                f"add hosts.{router.name}.wan, or a leg",
            )
    return None


def hidden(site: Site, flow: Flow) -> Reason | None:
    """Return why a host beyond the WAN cannot know a flow's source; None where it needs not, or can."""
    wan, crossing = site.router and site.router.wan, site.routing and site.routing.crossing(flow)
    if not wan or not crossing or not wan.masquerade or crossing.destination.interface != wan.interface:
        return None
    on_host = flow.destination in site.services or flow.destination in site.hosts
    if not on_host or flow.model_copy(update={"source": INTERNET}) in site.flows.values():
        return None
    name = site.router.name if site.router else ""
    return (
        f"can never work: {name} hides {flow.source} behind its own address",
        f"set hosts.{name}.wan.masquerade to false",
    )


def _without_address(site: Site, name: str) -> bool:
    """Whether an end could not be read, or is on a host that is not declared, or without its address."""
    if site.is_unreadable(name, "services") or site.is_unreadable(name, "hosts"):
        return True
    kind = DockerHost if isinstance(site.services.get(name), Container) else None
    hosts = [host for host in site.hosts.values() if host.name == name or (kind and isinstance(host, kind))]
    known = [
        host for host in hosts if not isinstance(host, RouterHost) and host.address and int(host.address)
    ]
    return not known and (kind is not None or bool(hosts)) and name != (site.router and site.router.name)


def _home(site: Site, name: str) -> str | None:
    """Return the zone on whose network an end of a flow is; None for a container, a host and the internet."""
    if isinstance(service := site.services.get(name), Guest):
        return service.zones[0]
    zone = site.zones.get(name)
    return site.network_of(zone).name if zone else None
