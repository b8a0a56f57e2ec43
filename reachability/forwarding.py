"""Where proxies lead: which entrypoint of a proxy leads to which port of which destination."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from ipaddress import IPv4Address
from typing import NamedTuple

from reachability.facts import Facts, Proxy
from reachability.proxy import Server, labelled, servers
from reachability.stacks import Stacks
from topology.model import Port


class ProxyEdge(NamedTuple):
    """A proxy's entrypoint that leads to a port of a destination; `port` None is any port."""

    proxy: Proxy
    entrypoint: Port
    origin: str
    port: Port | None


class Forwarding:
    """What the proxies of one set of facts pass on. Each index is computed on first use and cached."""

    def __init__(self, facts: Facts, stacks: Stacks) -> None:
        self.facts = facts
        self.stacks = stacks

    @cached_property
    def edges(self) -> Mapping[str, list[ProxyEdge]]:
        """Edges from proxies by destination."""
        found: defaultdict[str, list[ProxyEdge]] = defaultdict(list)
        for proxy in self.facts.proxies:
            for server in servers(proxy):
                for name, port in self._targets(proxy, server):
                    found[name] += [ProxyEdge(proxy, at, server.origin, port) for at in server.entrypoints]
            for label in labelled(proxy, self.facts.containers):
                found[label.container] += [
                    ProxyEdge(proxy, at, label.origin, label.port) for at in label.entrypoints
                ]
        return found

    def _targets(self, proxy: Proxy, server: Server) -> Iterator[tuple[str, Port]]:
        """Yield what answers at a server's address; for a host, also containers that publish the port."""
        if server.host is None or server.port is None:
            return
        for name in self.resolve(proxy, server.host):
            yield name, server.port
            if name not in self.stacks.hosts:
                continue
            yield from ((other, server.port) for other in self.stacks.by_owner[name].names)
            for container in self.facts.containers:
                for each in container.published:
                    offset = server.port.number - (each.external or server.port.number)
                    here = each.everywhere or container.host == name
                    if here and each.protocol is server.port.protocol and 0 <= offset < each.length:
                        yield container.name, Port(number=each.internal + offset, protocol=each.protocol)

    def resolve(self, proxy: Proxy, host: str) -> tuple[str, ...]:
        """Return every destination that a proxy may resolve a name or address to."""
        owner = self.stacks.containers.get(proxy.container)
        if host == "host.docker.internal" and owner is not None:
            return (owner.host,)
        if (host == "localhost" or host.startswith("127.")) and proxy.container in self.stacks.owners:
            return tuple(self.stacks.by_owner[self.stacks.owners[proxy.container]].names)
        return tuple(self._called.get(host, ()))

    @cached_property
    def _called(self) -> Mapping[str, dict[str, None]]:
        """Destinations by each of their names and addresses."""
        found: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for container in self.facts.containers:
            for name in (container.name, *container.names, *(n for leg in container.legs for n in leg.names)):
                found[name][container.name] = None
            for leg in container.legs:
                found[str(leg.address)][container.name] = None
        for guest in self.facts.guests:
            for name in (guest.name, *(str(nic.address) for nic in guest.nics)):
                found[name][guest.name] = None
        for host in self.stacks.hosts.values():
            for name in (host.name, *(str(leg.address) for leg in host.legs)):
                found[name][host.name] = None
        return found

    @cached_property
    def ears(self) -> Mapping[tuple[str, Port], frozenset[IPv4Address]]:
        """Addresses at which proxies listen on a port, of proxies that do not listen on all of their own."""
        found: defaultdict[tuple[str, Port], set[IPv4Address | None]] = defaultdict(set)
        for proxy in self.facts.proxies:
            for each in proxy.entrypoints:
                found[proxy.container, each.port].add(each.address)
        return {
            entry: frozenset(filter(None, addresses))
            for entry, addresses in found.items()
            if None not in addresses
        }
