"""Checks of the pages of external machines, which a container of app `machine-page` passes on."""

from __future__ import annotations

from collections.abc import Iterator

from topology.checks.site import Site
from topology.fault import Fault
from topology.model import App, Container, Protocol, Zone


def machine_pages(site: Site) -> Iterator[Fault]:
    """Check that each has one flow, to one machine, and that a machine's certificate is checked by one."""
    if any(map(site.unreadable_in, ("flows", "services", "zones"))):
        return
    pages = [each for each in site.containers if each.app is App.MACHINE_PAGE]
    for page in pages:
        yield from _page(site, page)
    asked = {(flow.source, flow.destination) for flow in site.flows.values()}
    for zone in site.zones.values():
        yield from _certificate(zone)
        if zone.is_machine and zone.ca_file and not any((page.name, zone.name) in asked for page in pages):
            fault = f"no service of app {App.MACHINE_PAGE} asks {zone.name}, so nothing checks it"
            remedy = "leave host and ca-file out, or declare such a service"
            yield Fault(f"zones.{zone.name}.ca-file", fault, remedy)


def _page(site: Site, page: Container) -> Iterator[Fault]:
    path = f"services.{page.name}"
    flows = [flow for flow in site.flows.values() if flow.source == page.name]
    zones = [site.zones.get(flow.destination) for flow in flows]
    if [bool(zone and zone.is_machine) for zone in zones] != [True]:
        yield Fault(
            path,
            f"{page.app} needs exactly one outgoing flow, to one external machine; it has {len(flows)}",
            "declare one, to a zone of role external with a prefix like 192.168.1.9/32",
        )
    elif flows[0].port.protocol is not Protocol.TCP:
        yield Fault(path, f"{flows[0]} is no page, which is asked by tcp", "use the tcp port of its page")
    if len(page.ports) != 1 or page.ports[0].protocol is not Protocol.TCP:
        yield Fault(f"{path}.ports", "nginx listens on one tcp port", "write it like [8080]")


def _certificate(zone: Zone) -> Iterator[Fault]:
    given = {"host": zone.host, "ca-file": zone.ca_file}
    for key in (key for key, value in given.items() if value is not None):
        path = f"zones.{zone.name}.{key}"
        if not zone.is_machine:
            remedy = "leave it out, or use role external and a prefix like 192.168.1.9/32"
            yield Fault(path, f"is of one machine's certificate, and {zone.name} is none", remedy)
        elif None in given.values():
            remedy = "write host, the name in the certificate, and ca-file, the PEM file that signed it"
            yield Fault(path, "needs the other of host and ca-file", remedy)
