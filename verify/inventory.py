"""Undeclared containers and guests on the site's networks.

The lists are read from Docker and Proxmox; no packet goes to the listed containers and guests.
Note: a guest's card without a tag on a VLAN-aware bridge can join every VLAN.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from topology.model import ProxmoxHost, Topology
from verify import slots
from verify.driver import ProbeError
from verify.namespaces import run

_SECONDS = 20


def containers(topology: Topology, there: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield undeclared containers, running or not, each with the site's networks that it is on."""
    declared = {topology.physical(service.name) for service in topology.containers}
    networks = _networks(topology)
    for one in there:
        name, joined = str(one["Name"]).lstrip("/"), networks.keys() & one["NetworkSettings"]["Networks"]
        if joined and name not in declared:
            yield name, ", ".join(sorted(joined))


def oddities(topology: Topology, one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a container has on the site's networks that no stack file gives it, each with its cause.

    They are IPv6 addresses, and names that are another service's. `one` is as `docker inspect` prints it.
    """
    own = str(one["Name"]).lstrip("/").lower()
    services = [each.name for each in topology.containers if topology.physical(each.name).lower() != own]
    others = {name.lower() for each in services for name in (each, topology.physical(each))}
    networks = _networks(topology)
    for place, reserved in slots.misplaced(topology, one):
        yield (
            f"has {place}",
            f"the slot's address is {reserved}; let the other project take it from the outputs",
        )
    for network, joined in one["NetworkSettings"]["Networks"].items():
        if network not in networks:
            continue
        if address := joined.get("GlobalIPv6Address"):
            yield (
                f"has {address} on {networks[network]}",
                "the network was made with IPv6, by hand or by default",
            )
        for alias in sorted(others & {name.lower() for name in joined.get("Aliases") or ()}):
            yield f"is called {alias} on {networks[network]}", "it was joined to that network with this alias"


def _networks(topology: Topology) -> dict[str, str]:
    """Return the zone of each of the site's Docker networks, by the engine's name."""
    zones = (*(zone for zone in topology.zones.values() if zone.is_docker), *topology.legs.zones)
    return {topology.physical(zone.network): zone.name for zone in zones}


def guests(topology: Topology, api: Reader) -> Iterator[tuple[str, str]]:
    """Yield undeclared guests, running or not, each with its cards that can see a declared VLAN."""
    for host in topology.proxmox_hosts:
        is_lan = any(zone.is_flat and zone.bridge is None for zone in topology.vlans)
        if not (is_lan and host.existing_bridge):  # others on the LAN are no drift
            yield from _on_node(topology, api, host)


def _on_node(topology: Topology, api: Reader, host: ProxmoxHost) -> Iterator[tuple[str, str]]:
    tags = {zone.vlan for zone in topology.vlans if zone.is_flat or zone not in topology.lans}
    templates = (each.template for each in topology.proxmox_hosts)
    declared = {*templates, *(guest.vmid for guest in topology.guests)}
    declared |= {topology.router.guest.vmid} if topology.router and topology.router.guest else set()
    for kind in ("qemu", "lxc"):
        for one in api.get(f"nodes/{host.node}/{kind}"):
            number = int(one["vmid"])
            if number in declared or one.get("template"):
                continue
            config = api.get(f"nodes/{host.node}/{kind}/{number}/config")
            cards = [str(value) for key, value in config.items() if re.fullmatch(r"net\d+", key)]
            seen = [where for card in cards if (where := _where(card, host.bridge, tags))]
            if seen:
                yield f"{number} {one.get('name', '')}".strip(), ", ".join(seen)


def _where(card: str, bridge: str, tags: set[int | None]) -> str:
    words = dict(word.partition("=")[::2] for word in card.split(","))
    if words.get("bridge") != bridge:
        return ""
    if "tag" in words and int(words["tag"]) not in tags and "trunks" not in words:
        return ""
    return f"{bridge} VLAN {words['tag']}" if "tag" in words else f"{bridge}, every VLAN"


class Reader(Protocol):
    """Read access to a Proxmox API."""

    def get(self, path: str) -> Any:
        """Return the answer's data."""


def login(stack: str) -> tuple[str, str]:
    """Return a stack's Proxmox API and its token, the environment's before the stack's; raises ProbeError."""
    return (
        os.environ.get("PROXMOX_VE_ENDPOINT") or _configured(stack, "proxmoxve:endpoint"),
        os.environ.get("PROXMOX_VE_API_TOKEN") or _configured(stack, "proxmoxve:apiToken"),
    )


class Api:
    """Read access to a stack's Proxmox API with the stack's own token."""

    def __init__(self, stack: str) -> None:
        self._url, self._token = login(stack)

    def get(self, path: str) -> Any:
        """Return the answer's data; raises ProbeError if there is none."""
        url = f"{self._url.rstrip('/')}/api2/json/{path}"
        if urlsplit(url).scheme != "https":
            raise ProbeError(f"proxmoxve:endpoint: {self._url} is not https; write it like https://pve:8006/")
        request = Request(url, headers={"Authorization": f"PVEAPIToken={self._token}"})  # noqa: S310  # https
        try:
            with urlopen(request, timeout=_SECONDS, context=ssl.create_default_context()) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except (URLError, OSError, ValueError) as fault:
            reason = getattr(fault, "reason", fault)
            raise ProbeError(f"{url}: {reason}; see that the API answers and its token may read") from None


def _configured(stack: str, key: str) -> str:
    return run("pulumi", "config", "get", key, "--stack", stack, "--non-interactive").strip()
