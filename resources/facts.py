"""Facts of single resources: what each says about itself, without any other.

`resources.site` links them; `survey` makes the same facts of what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import reachability.facts as fact
from reachability.proxy import parse_dynamic
from resources.docker import DockerContainer, DockerNetwork
from resources.inputs import address
from resources.proxmox import Alias, FirewallRules, Ipset
from resources.typed import TypedResource


def network_fact(network: DockerNetwork, *, name: str, origin: str, host: str) -> fact.Network | None:
    """Return a network as its own properties describe it; None for a driver that carries no packets."""
    if network.driver not in set(fact.NetworkDriver):
        return None
    return fact.Network(
        name=name,
        origin=origin,
        host=host,
        driver=fact.NetworkDriver(network.driver),
        internal=network.internal,
        icc=network.option("enable_icc") != "false" and network.options.get("macvlan_mode") != "private",
        masquerade=network.option("enable_ip_masquerade") != "false",
        host_reachable=not network.closed_to_host,
    )


def container_fact(container: DockerContainer, *, name: str, origin: str, host: str) -> fact.ContainerFact:
    """Return a container as its own properties describe it, without the ports that its service declares."""
    modes = {mode.value: mode for mode in fact.Mode}
    return fact.ContainerFact(
        name=name,
        origin=origin,
        host=host,
        mode=modes.get(container.network_mode, fact.Mode.BRIDGE),
        shares=container.shares or None,
        legs=tuple(
            fact.Leg(network=leg.name, address=leg.ipv4_address, names=leg.aliases) for leg in container.legs
        ),
        names=(container.name,),
        published=tuple(
            fact.Published(
                internal=port.internal,
                external=port.external,
                protocol=port.protocol,
                address=address(port.ip) or fact.ANY_ADDRESS,
            )
            for port in container.ports
        ),
        publish_all=container.publish_all_ports,
        labels={label.label: label.value for label in container.labels},
    )


def proxy_fact(container: DockerContainer, *, name: str, origin: str) -> fact.Proxy:
    """Return the Traefik that a container runs."""
    configuration = container.traefik
    parsed = [parse_dynamic(content, path) for path, content in configuration.dynamic]
    return fact.Proxy(
        container=name,
        origin=origin,
        entrypoints=configuration.entrypoints,
        routers=tuple(router for routers, _ in parsed for router in routers),
        services=tuple(service for _, services in parsed for service in services),
        labels=configuration.reads_labels,
        exposed_by_default=configuration.exposed_by_default,
    )


def rules_of(each: TypedResource[Any]) -> Iterator[fact.ProxmoxRule]:
    """Yield the rules of a list or group, in their order."""
    for index, rule in enumerate(each.inputs.rules):
        yield fact.ProxmoxRule(
            origin=f"{each.name} rule {index}",
            type="group" if rule.security_group else rule.type,
            action=rule.action,
            enabled=rule.enabled,
            macro=rule.macro or None,
            proto=rule.proto or None,
            source=rule.source or None,
            dest=rule.dest or None,
            sport=rule.sport or None,
            dport=rule.dport or None,
            iface=rule.iface or None,
            group=rule.security_group or None,
            observes=rule.observes,
        )


def firewall_of(
    own: Iterable[TypedResource[Any]],
) -> tuple[tuple[fact.ProxmoxRule, ...], dict[str, tuple[fact.IpsetEntry, ...]], dict[str, str]]:
    """Return the rules, ipsets and aliases among the firewall resources of a guest or the datacenter."""
    rules: list[fact.ProxmoxRule] = []
    ipsets: dict[str, tuple[fact.IpsetEntry, ...]] = {}
    aliases: dict[str, str] = {}
    for each in own:
        match each.inputs:
            case FirewallRules():
                rules.extend(rules_of(each))
            case Ipset():
                ipsets[each.inputs.name] = tuple(
                    fact.IpsetEntry(cidr=member.name, nomatch=member.nomatch) for member in each.inputs.cidrs
                )
            case Alias():
                aliases[each.inputs.name] = each.inputs.cidr
    return tuple(rules), ipsets, aliases
