"""A real Linux router with the rendered rules: what it forwards is what engine and packet walk say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Address
from itertools import product
from pathlib import Path

import pytest
import yaml

from reachability.engine import Reachability
from reachability.facts import Datacenter, Facts, GuestFact, GuestFirewall, IpsetEntry, Nic
from rendered import router_guest, router_rules
from resources.site import Graph
from tests.parts.router_wires import Arrival, Probe, Router, router
from tests.routers import as_a_guest, drawn
from tests.unit.packet_walk import Walk
from topology.config import load
from topology.index import TopologyIndex
from topology.model import INTERNET, Container, Guest, Port, Topology, Zone

SITES, SHARES = 500, 4
FORWARDING = "net.ipv4.ip_forward"
OTHER = Port(number=9999)
"""A port that no flow names."""
INSIDE = (IPv4Address("9.9.9.9"), IPv4Address("44.0.0.1"))
"""Addresses on the internet."""
PROVIDER = IPv4Address("198.18.0.1")
LEASED = IPv4Address("198.18.0.2")
"""What the router's provider has, and what it gives the router where the site does not say."""


@dataclass(frozen=True)
class Site:
    """A drawn site, and where its ends are: worked out here from its zones alone."""

    topology: Topology

    @cached_property
    def ends(self) -> Mapping[str, tuple[str, tuple[IPv4Address, ...]]]:
        """The router's wire and the addresses of each end of a flow that it can reach."""
        site = self.topology
        found: dict[str, tuple[str, tuple[IPv4Address, ...]]] = {INTERNET: (self.wan, INSIDE)}
        for zone in site.outsides:
            found[zone.name] = (self.wire(zone), (zone.prefix[-3], zone.prefix[-4]))
        for guest in site.guests:
            found[guest.name] = (self.wire(site.zones[guest.zones[0]]), (guest.address,))
        for host in (site.docker_host, site.proxmox_host):
            if host and host.address:
                zones = (z for z in site.zones.values() if not z.is_docker and host.address in z.prefix)
                found[host.name] = (self.wire(next(zones, None)), (host.address,))
        return {name: end for name, end in found.items() if end[0]}

    @property
    def wan(self) -> str:
        """The wire towards the internet; empty where there is none."""
        return "wan" if self.topology.router and self.topology.router.wan else ""

    def wire(self, zone: Zone | None) -> str:
        """Return the wire of a zone."""
        assert self.topology.router
        for name, leg in self.topology.router.legs.items():
            other = self.topology.zones[name]
            if zone and (other == zone or zone.prefix.subnet_of(other.prefix)):
                return leg.interface
        return self.wan

    @cached_property
    def addresses(self) -> Mapping[str, str]:
        """The router's address on each wire, with its prefix length."""
        assert self.topology.router
        found = {}
        for name, leg in self.topology.router.legs.items():
            prefix = self.topology.zones[name].prefix
            found[leg.interface] = f"{leg.address or prefix[1]}/{prefix.prefixlen}"
        if self.topology.router.wan:
            found["wan"] = f"{self.topology.router.wan.address or LEASED}/32"
        return found

    @cached_property
    def facts(self) -> Facts:
        """The site as the proof sees it, with hosts and guests that filter no packet of their own."""
        found = Graph((), TopologyIndex.of(self.topology)).facts
        ports = {"docker": (Port(number=443),)}
        hosts = [replace(h, firewall=None, ports=ports.get(h.name, h.ports)) for h in found.hosts]
        return replace(
            found,
            hosts=tuple(hosts),
            guests=tuple(map(self._guest, self.topology.guests)),
            datacenter=Datacenter(origin="open", enabled=True, input_policy="ACCEPT"),
        )

    def _guest(self, guest: Guest) -> GuestFact:
        zone = self.topology.zones[guest.zones[0]]
        nic = Nic(
            name="net0", bridge=zone.bridge or "vmbr1", tag=zone.vlan, firewall=True, address=guest.address
        )
        own = {"ipfilter-net0": (IpsetEntry(cidr=f"{guest.address}/32"),)}
        firewall = GuestFirewall(
            origin=guest.name, enabled=True, input_policy="ACCEPT", ipfilter=True, ipsets=own
        )
        return GuestFact(
            name=guest.name, origin=guest.name, nics=(nic,), ports=guest.ports, firewall=firewall
        )

    def questions(self) -> Iterator[tuple[str, str, Port]]:
        """Yield each source, destination and port between which the router is, and to the router itself."""
        names = {each.name: each for each in self.topology.hosts}
        for source, name in product(self.ends, (*self.ends, "router")):
            if name != "router" and self.ends[source][0] == self.ends[name][0]:
                continue
            declared = {port for to, port in self._declared if to == name}
            # No fact says on which other ports a host's programs listen.
            others = () if name in names and name != "router" else (OTHER,)
            yield from ((source, name, port) for port in (*sorted(declared, key=str), *others))

    @cached_property
    def _declared(self) -> list[tuple[str, Port]]:
        found = Reachability(self.facts).names
        return [(name, port) for name, thing in found.items() for port in thing.ports]

    def probes(self, source: str, name: str, port: Port) -> Iterator[Probe]:
        """Yield the packets by which a source can ask for a port, by the router's own address as well."""
        wire, senders = self.ends[source]
        own = [IPv4Address(each.partition("/")[0]) for each in self.addresses.values()]
        targets = list(own) if name == "router" else list(self.ends[name][1])
        if wire == "wan" and name != "router":
            targets.append(IPv4Address(self.addresses["wan"].partition("/")[0]))
        yield from (Probe(wire=wire, source=s, destination=d, port=port) for s in senders for d in targets)

    def spoofed(self) -> Iterator[Probe]:
        """Yield packets of each declared flow that arrive on another wire than their source's."""
        for flow in self.topology.flows:
            source, name = (self._live(end) for end in (flow.source, flow.destination))
            if source in self.ends and (name in self.ends or name == "router"):
                for probe in self.probes(source, name, flow.port):
                    yield from (replace(probe, wire=w) for w in self.addresses if w != probe.wire)

    def afar(self) -> Iterator[Probe]:
        """Yield packets of each flow to the router for an address that it has on another wire."""
        site = self.topology
        for flow in site.flows_to("router"):
            wire, senders = self.ends[flow.source]
            if wire == "wan" and site.router and site.router.wan and site.router.wan.address is None:
                continue  # no rule can name it
            others = (a for w, a in self.addresses.items() if w != wire)
            targets = [IPv4Address(each.partition("/")[0]) for each in others]
            yield from (
                Probe(wire=wire, source=s, destination=d, port=flow.port) for s in senders for d in targets
            )

    def _live(self, name: str) -> str:
        """Return the machine that a packet of an end has the address of: for a container, its host."""
        return "docker" if isinstance(self.topology.services.get(name), Container) else name

    def came(self, name: str, port: Port, arrival: Arrival) -> bool:
        """Whether a packet came out where its destination is."""
        if name == "router":
            return arrival.wire == "lo"
        wire, addresses = self.ends[name]
        return (arrival.wire, arrival.number) == (wire, port.number) and arrival.destination in addresses


@pytest.fixture(scope="module")
def machine() -> Iterator[Router]:
    """Run the router."""
    with router(Port.parse("53/udp"), Port.parse("9999/udp")) as found:
        yield found


def site(seed: int) -> Site:
    """Return a drawn site."""
    return Site(load(drawn(seed)))


def put(machine: Router, found: Site) -> None:
    """Give the router a site's addresses, neighbours and rules."""
    near = {PROVIDER: "wan"} | {ip: wire for wire, addresses in found.ends.values() for ip in addresses}
    machine.set_up(found.addresses, near, PROVIDER if found.wan else None)
    machine.load(router_rules.nftables(found.topology))


def reached(machine: Router, found: Site) -> set[tuple[str, str, Port]]:
    """Return the questions whose packets arrive, after a check that nothing comes out elsewhere."""
    asked = {question: [*found.probes(*question)] for question in found.questions()}
    answers = machine.ask([*{p: None for probes in asked.values() for p in probes}], found.addresses)
    hidden = found.topology.router and found.topology.router.wan and found.topology.router.wan.masquerade
    for probe, arrivals in answers.items():
        for arrival in arrivals:
            if arrival.wire == "wan" and hidden:
                assert arrival.source == IPv4Address(found.addresses["wan"].partition("/")[0])
            elif arrival.wire != "lo":
                assert arrival.source == probe.source
    return {
        question
        for question, probes in asked.items()
        if any(found.came(question[1], question[2], arrival) for p in probes for arrival in answers[p])
    }


def told(found: Site, keys: set[tuple[str, str, Port | None]]) -> set[tuple[str, str, Port]]:
    """Return the questions that a proof answers with yes."""
    return {(s, d, p) for s, d, p in found.questions() if (s, d, None if p == OTHER else p) in keys}


@pytest.mark.parametrize("share", range(SHARES))
def test_a_real_router_does_what_the_proof_says(share: int, machine: Router) -> None:
    """On 500 drawn sites the router forwards and takes exactly what engine and packet walk find."""
    total = 0
    for seed in range(share, SITES, SHARES):
        found = site(seed)
        put(machine, found)
        live = reached(machine, found)
        engine = told(found, {flow.key for flow in Reachability(found.facts).flows()})
        assert live == engine, (seed, live ^ engine)
        assert engine == told(found, Walk(found.facts).flows()), seed
        assert not any(machine.ask([*found.spoofed(), *found.afar()], found.addresses).values()), seed
        assert machine.ask_ipv6(found.addresses) == set(), seed
        total += len(live)
    assert total > SITES // SHARES


WIDER = {
    "a rule without its port": (r"tcp dport \d+ accept", "accept"),
    "a rule without its source": (
        r"oifname \"(\w+)\" ip saddr \S+ ip daddr (\d)",
        r'oifname "\1" ip daddr \2',
    ),
    "a rule for every interface": (r'iifname "(?:leg|wan)\d*" oifname', "oifname"),
    "forward accepts": (
        "hook forward priority filter; policy drop",
        "hook forward priority filter; policy accept",
    ),
    "input accepts": ("hook input priority filter; policy drop", "hook input priority filter; policy accept"),
}
"""A change of the rules that lets more through, as a pattern and what takes its place."""


@pytest.mark.parametrize("change", WIDER)
def test_wider_rules_are_seen(change: str, machine: Router) -> None:
    """With rules that let more through, the same questions and packets on ten sites find it."""
    seen = []
    for seed in range(10):
        found = site(seed)
        put(machine, found)
        machine.load(re.sub(*WIDER[change], router_rules.nftables(found.topology)))
        engine = told(found, {flow.key for flow in Reachability(found.facts).flows()})
        more = reached(machine, found) - engine
        spoofed = any(machine.ask([*found.spoofed()], found.addresses).values())
        seen += [seed] if more or spoofed or machine.ask_ipv6(found.addresses) else []
    assert seen


def test_a_guest_forwards_after_its_rules_alone(tmp_path: Path) -> None:
    """The unit of a router that the stack makes loads the rendered rules, then forwards; removal ends both.

    With rules that nftables refuses it forwards nothing.
    """
    site = load(as_a_guest())
    config = yaml.safe_load(router_guest.cloud_config(site))
    files = {file["path"]: file["content"] for file in config["write_files"]}
    (place,) = (path for path in files if path.endswith(".nft"))
    (unit,) = (text for path, text in files.items() if path.endswith(".service"))
    rules = tmp_path / "router.nft"
    start = " && ".join(re.findall(r"^ExecStart(?:Post)?=(.*)$", unit, re.MULTILINE))
    start = f"({start.replace(place, str(rules))}) >/dev/null"

    def run(text: str, *commands: str) -> list[str]:
        rules.write_text(text, encoding="utf-8")
        script = "\n".join((f"sysctl -q -w {FORWARDING}=0", *commands, f"sysctl -n {FORWARDING}"))
        words = ["unshare", "--net", "sh", "-c", script]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.splitlines()

    loaded = run(files[place], f"nft -f {rules}", "nft list ruleset")[:-1]
    assert len(loaded) > 20
    assert run(files[place], start, "nft list ruleset") == [*loaded, "1"]
    assert run(files[place] + "no rule\n", f"{start} || true", "nft list ruleset") == ["0"]
    removed = f"({router_rules.remove(site)}) >/dev/null"
    assert run(files[place], start, removed, "nft list ruleset") == ["0"]
