"""What `make up` prints last: flows, addresses to open, and how to open them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lab import paths
from lab.proxmox import servers
from topology.model import App, GuestApp, Role, Topology

_LOGINS: Final[Mapping[App | GuestApp | None, str]] = {
    App.GRAFANA: "user admin; password: `pulumi config get grafana:adminPassword` after `make env`",
    App.PROMETHEUS_UI: "user admin, password homelab-lab",
}
"""App -> the login of the lab's own stack files."""


def flows(outputs: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of declared flows."""
    width = max(len(flow["source"]) for flow in outputs["flows"].values())
    yield "Who may reach whom, as declared:"
    for name, flow in outputs["flows"].items():
        yield f"  {' ' * (width - len(flow['source']))}{name}"


def addresses(stack: str, topology: Topology, outputs: Mapping[str, Any], *, in_lab: bool) -> Iterator[str]:
    """Yield the addresses to open, and in the lab what a browser on this or another machine needs for it."""
    urls = outputs.get("urls", {})  # none without an ingress
    width = max(map(len, urls), default=0)
    if urls:
        yield "Open:"
    for service, url in urls.items():
        app = topology.services[service].app
        login = f"   ({_LOGINS[app]})" if in_lab and app in _LOGINS else ""
        yield f"  {service:>{width}}    {url}{login}"
    if in_lab:
        yield from _lab(topology)
    yield f"Next: `make report STACK={stack}` draws this network; `make down STACK={stack}` removes it."


def consequences(stack: str, topology: Topology) -> str:
    """Return what an `up` on real hosts does to their firewalls, for a question."""
    hosts = " and ".join(host.name for host in topology.hosts)
    prefixes = " and ".join(str(zone.prefix) for zone in topology.outsides if zone.role is Role.MANAGEMENT)
    closed = f"; then Proxmox answers {prefixes} alone" if topology.proxmox_host else ""
    return f"stack {stack} changes the firewalls of {hosts}, which are no lab{closed}"


def _lab(topology: Topology) -> Iterator[str]:
    """Yield how to trust the lab's authority and open its pages from elsewhere, and what is a stand-in."""
    first = next(iter(topology.routes), None)
    if first:
        authority = f"{paths.STATE}/tls/ca.crt"
        yield f"Trust:  curl --cacert {authority} https://{first.host}/   (a browser: import that file)"
    yield f"From another machine:  ssh -L 443:127.0.0.1:443 root@{socket.gethostname()}"
    images = [each.name for each in topology.containers if "stand-in" in each.image]
    guests = [each.name for each in topology.guests if not servers.is_site(each.name)]
    yield f"Stand-ins, which say so on their pages: {', '.join([*images, *guests])}"
