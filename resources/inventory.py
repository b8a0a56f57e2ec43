"""What a reviewer of a change wants to know of a site besides its flows, as plain text that can be compared.

Places, images and data come from the resources; exceptions, admin pages and end dates from the stack file.
Note: a secret is represented by a digest of its encrypted form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from resources.docker import DockerContainer, Volume
from resources.proxmox_guests import RouterMachine, SystemContainer, VirtualMachine
from resources.site import Graph
from resources.typed import TypedResource
from topology.index import TopologyIndex
from topology.model import BASIC, HAS_ADMIN_PAGE, Container, Guest, Topology
from topology.project import NAME


class Kind(StrEnum):
    """What an item is."""

    SERVICE = "service"
    VOLUME = "volume"
    ZONE = "zone"
    FLOW = "flow"
    UNENCRYPTED = "unencrypted"
    EXCEPTION = "exception"
    ASSERTION = "assertion"
    SETTING = "setting"
    SECRET = "secret"  # noqa: S105  # a word


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing of a site. While `identity` stays the same, an update changes the thing in place.

    `data` says what is lost with the thing; empty where nothing is. A `protected` thing can't be deleted.
    """

    traits: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""
    data: str = ""
    protected: bool = False

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> Self:
        """Return the item that `asdict` wrote; raises TypeError or ValueError on anything else."""
        return cls(**{**written, "traits": dict(written["traits"])})


SHARED: Final = "volumes of others"
"""Trait of a container that mounts volumes which are made with other services."""
_LOGIN: Final = {None: "left to the service", BASIC: "asked for by the ingress"}

Inventory = Mapping[str, Mapping[str, Item]]
"""Kind -> name -> item."""
_TOLD: Final = frozenset(
    f"{NAME}:{key}"
    for key in ("services", "flows", "zones", "unencrypted", "exceptions", "assertions", "protect")
)
"""Keys of a stack file whose content is told item by item."""


def inventory(graph: Graph, config: Mapping[str, Any]) -> Inventory:
    """Return a site's inventory; `config` has the stack file's keys of every namespace."""
    services = {
        **{
            (name := graph.called(c.inputs.name)): _container(graph, c, name)
            for c in graph.of(DockerContainer)
        },
        **{
            (name := graph.called(g.inputs.name)): _guest(graph, g, name)
            for g in (*graph.guests, *graph.of(RouterMachine))
        },
    }
    volumes = {
        each.inputs.name: Item(
            identity=f"{each.resource.urn} {_digest(each.resource.inputs)}",
            data="its content",
            protected=each.resource.protect,
        )
        for each in graph.of(Volume)
    }
    keys = {key: value for key, value in config.items() if key not in _TOLD}
    secrets = {
        key for key, value in keys.items() if isinstance(value, Mapping) and value.keys() == {"secure"}
    }
    return {
        Kind.SERVICE: services,
        Kind.VOLUME: volumes,
        **_of_topology(graph.topology),
        Kind.SETTING: {
            "protect": _item(value=str(graph.topology.protect).lower()),
            **{each.name: _item(closed=str(each.closed).lower()) for each in graph.topology.docker_hosts},
            **{key: _item(value=_digest(value)) for key, value in keys.items() if key not in secrets},
        },
        Kind.SECRET: {key: _item(value=_digest(keys[key])) for key in sorted(secrets)},
    }


def _of_topology(topology: Topology) -> Inventory:
    ends = {each.flow: str(each.until) for each in topology.temporary}
    return {
        Kind.ZONE: {
            zone.name: _item(
                role=str(zone.role),
                prefix=str(zone.prefix),
                VLAN=f"VLAN {zone.vlan}" if zone.vlan else "no VLAN",
                **({"Docker host": zone.docker_host} if zone.docker_host else {}),
            )
            for zone in topology.zones.values()
        },
        Kind.FLOW: {str(flow): _item(end=ends.get(flow, "none")) for flow in topology.flows},
        Kind.UNENCRYPTED: {str(each.flow): _item(reason=each.reason) for each in topology.unencrypted},
        Kind.EXCEPTION: {
            f"{each.rule} for {each.resource}": _item(
                end=str(each.expires), owner=each.owner, reason=each.reason
            )
            for each in topology.exceptions
        },
        Kind.ASSERTION: {
            f"{each.src} {verb} {end}{' directly' * each.directly}": Item()
            for each in topology.assertions
            for verb, tested in (("accept", each.accept), ("deny", each.deny))
            for end in tested
        },
    }


def to_json(found: Inventory) -> dict[str, dict[str, Any]]:
    """Return an inventory as plain values, which `from_json` reads."""
    return {kind: {name: asdict(item) for name, item in items.items()} for kind, items in found.items()}


def from_json(written: Mapping[str, Any]) -> Inventory:
    """Return the inventory that `to_json` wrote; raises an error of Python's on anything else."""
    return {
        kind: {name: Item.of(item) for name, item in written[kind].items()}
        for kind in Kind
        if kind in written
    }


def _container(graph: Graph, each: TypedResource[DockerContainer], name: str) -> Item:
    inputs = each.inputs
    places = sorted((graph.zones.get(leg.name, leg.name), str(leg.ipv4_address or "")) for leg in inputs.legs)
    return Item(
        traits={
            "networks": ", ".join(network for network, _ in places),
            "address": ", ".join(address for _, address in places if address),
            "image": inputs.image,
            "memory": f"{inputs.memory:.0f} MiB",
            "published ports": ", ".join(map(str, inputs.ports)) or "nothing",
            **dict(_declared(graph, name)),
        }
    )


def _guest(graph: Graph, each: TypedResource[Any], name: str) -> Item:
    inputs: VirtualMachine | SystemContainer = each.inputs
    raw = each.resource.inputs
    zones = {zone.vlan: zone.name for zone in graph.topology.zones.values() if zone.has_guests}
    tags = [card.vlan_id for card in inputs.cards]
    ips = [config.ipv4.address for config in inputs.initialization.ip_configs]
    # The provider makes a guest anew, and its disks with it, when one of these changes.
    identity = (each.resource.urn, inputs.node_name, inputs.vm_id, _digest(raw.get("clone")))
    return Item(
        identity=" ".join(map(str, (*identity, inputs.initialization.user_data_file_id))),
        data="its disk",
        protected=each.resource.protect,
        traits={
            "VLAN": ", ".join(f"VLAN {tag}" if tag else "no VLAN" for tag in tags),
            "zone": ", ".join(zones.get(tag, "none") for tag in tags),
            "address": ", ".join(str(ip) for ip in ips if ip),
            "VM id": str(inputs.vm_id),
            "disk": ", ".join(f"{disk.get('size')} GiB" for disk in _mappings(raw.get("disks"))),
            "cores": str(_below(raw, "cpu").get("cores")),
            "memory": f"{_below(raw, 'memory').get('dedicated')} MiB",
            **dict(_declared(graph, name)),
        },
    )


def _declared(graph: Graph, name: str) -> Iterator[tuple[str, str]]:
    """Yield what the stack file says about a service that changes no flow."""
    service = graph.topology.services.get(name)
    if service is None:
        return
    yield "app", str(service.app or "none")
    used = any(name in {flow.source, flow.destination} for flow in graph.topology.flows)
    yield "flows", "some" if used else "none"
    routes = [route for route in graph.topology.routes if route.service == name]
    if routes:
        yield "host name", service.host
        yield "login", _LOGIN.get(routes[0].login, f"asked for by {routes[0].login}")
    if isinstance(service, Guest) or service.ca_file:
        yield "certificate", str(service.ca_file or "none, so no TLS")
    if isinstance(service, Guest):
        if service.image:
            yield "image", service.image
        if service.app in HAS_ADMIN_PAGE:
            page = service.admin_page
            yield "admin page", f"open until {page.until}" if page else "closed"
        if service.observed_until:
            yield "observation", f"through {service.observed_until}"
    if isinstance(service, Container):
        yield from _of_container(service, graph.topology)


def _of_container(service: Container, topology: TopologyIndex) -> Iterator[tuple[str, str]]:
    for key, value in service.environment.items():
        yield f"variable {key}", _digest(value)
    for key, value in service.files.items():
        yield f"file {key}", _digest(value)
    yield "arguments", " ".join(service.arguments) or "none"
    if borrowed := topology.named_volumes.borrowed(service):
        yield SHARED, ", ".join(map(topology.named_volumes.name, borrowed))


def _item(**traits: str) -> Item:
    return Item(traits=traits)


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _below(inputs: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = inputs.get(key)
    return value if isinstance(value, Mapping) else {}


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
