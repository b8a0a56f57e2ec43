"""Where the software of a container with a leg on a network of guests listens."""

from ipaddress import IPv4Address

from topology.model import Container, Topology

LISTEN = "--web.listen-address"
"""Prometheus's flag for the one address that it listens on."""
LOOPBACK = IPv4Address("127.0.0.1")


def listens(topology: Topology, service: Container) -> IPv4Address | None:
    """Return the one address on which a container with a leg listens, or None for one without: on all.

    The address is that on the Docker network which it shares with its callers (`topology.checks.legs`), and
    loopback without any. The ingress has rules of its own (`Topology.ears`).
    """
    if service.name == topology.ingress_name or not topology.legs.of(service.name):
        return None
    for flow in topology.flows_to(service.name):
        for name in topology.services[flow.source].zones:
            if name in service.zones:
                return topology.address_on(service.name, topology.zones[name])
    return LOOPBACK
