"""What `make up` prints last: flows, addresses to open, and how to open them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from getpass import getuser
from typing import Any, Final

from lab import paths
from lab.proxmox import servers
from topology.model import App, GuestApp, Role, Topology

_PASSWORD: Final = "homelab-lab"  # noqa: S105  # of the lab's own stack files, which hold no secret of anyone's
FIREWALL_STAYS: Final = (
    "Proxmox: its firewall stays on, without the stack's rules and the alias local_network, which may lock "
    "you out; switch it off before, unless you need it: `pvesh set /cluster/firewall/options --enable 0`"
)
"""What `make down` says of real hosts: Proxmox's provider leaves the datacenter's options as they are."""


def flows(topology: Topology, outputs: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of declared flows, and what is possible beside them."""
    width = max(len(flow["source"]) for flow in outputs["flows"].values())
    yield "Who may reach whom, as declared:"
    for name, flow in outputs["flows"].items():
        yield f"  {' ' * (width - len(flow['source']))}{name}"
    if topology.routes:
        pages = ", ".join(dict.fromkeys(route.service for route in topology.routes))
        yield f"Who may reach {topology.ingress.name} also reaches its pages by it: {pages}."
    hosts = " and ".join(host.name for host in topology.hosts)
    yield f"Nothing else, between neighbours on one Docker network too; {hosts} can reach what runs on them."


def addresses(stack: str, topology: Topology, outputs: Mapping[str, Any], *, in_lab: bool) -> Iterator[str]:
    """Yield the addresses to open, and in the lab what a browser on this or another machine needs for it."""
    urls = outputs.get("urls", {})  # none without an ingress
    width = max(map(len, urls), default=0)
    if urls:
        yield "Open:"
    for service, url in urls.items():
        login = _login(topology.services[service].app, in_lab=in_lab)
        yield f"  {service:>{width}}    {url}{login and f'   ({login})'}"
    if any(topology.services[service].app is App.GRAFANA for service in urls):
        told = f'eval "$(make -s env STACK={stack})"; pulumi config get grafana:adminPassword --stack {stack}'
        yield f"Grafana's password:  {told}"
    if in_lab and topology.routes:
        yield f"Prometheus UI's password:  {_PASSWORD}"
        yield from _lab(topology)
    yield f"Next: `make report STACK={stack}` draws this network; `make down STACK={stack}` removes it."


def _login(app: App | GuestApp | None, *, in_lab: bool) -> str:
    """Return who may log in to a page; empty where the project sets no login."""
    if app is App.PROMETHEUS_UI and not in_lab:
        return "a user of the secret traefik:users"
    return "user admin" if app in {App.GRAFANA, App.PROMETHEUS_UI} else ""


def consequences(stack: str, topology: Topology) -> str:
    """Return what an `up` on real hosts does to their firewalls, for a question."""
    hosts = " and ".join(host.name for host in topology.hosts)
    prefixes = " and ".join(str(zone.prefix) for zone in topology.outsides if zone.role is Role.MANAGEMENT)
    closed = f"; then Proxmox answers {prefixes} alone" if topology.proxmox_host else ""
    return f"stack {stack} changes the firewalls of {hosts}, which are no lab{closed}"


def _lab(topology: Topology) -> Iterator[str]:
    """Yield how to trust the lab's authority and open its pages from elsewhere, and what is a stand-in."""
    page, authority = topology.routes[0].host, f"{paths.STATE}/tls/ca.crt"
    yield f"Trust:  curl --cacert {authority} https://{page}/   (a browser: import that file as an authority)"
    published = topology.docker.address
    inside = "127.0.0.1" if published.is_unspecified else published
    tunnel = f"ssh -L 8443:{inside}:443 {getuser()}@{socket.gethostname()}"
    yield f"From another machine:  {tunnel}, then https://{page}:8443/"
    images = [each.name for each in topology.containers if "stand-in" in each.image]
    guests = [each.name for each in topology.guests if not servers.is_site(each.name)]
    yield f"Stand-ins, which say so on their pages: {', '.join([*images, *guests])}"
