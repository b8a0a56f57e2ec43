"""Changes of containers, their networks and the host's own rules, which the next `make up` repairs."""

# ruff: noqa: D103  # a sabotage's name describes the change

from __future__ import annotations

from pathlib import Path

from rendered import host_rules, leg_rules
from tests.live.sabotage.change import RULES, SWITCH, TOPOLOGY, nft, pair, sabotage
from tests.live.site import Site, command


@sabotage("containers", "✗ loki is on frontend", "joined to that network by hand")
def loki_joins_frontend(site: Site) -> None:
    site.docker("network", "connect", "frontend", "loki")


@sabotage("containers", "✗ prometheus is on edge", "joined to that network by hand")
def prometheus_joins_edge(site: Site) -> None:
    site.docker("network", "connect", "edge", "prometheus")


@sabotage("containers", "✗ promtail -> loki-gateway:3100/tcp", "promtail runs, but on none of its networks")
def promtail_leaves_backend(site: Site) -> None:
    site.docker("network", "disconnect", "backend", "promtail")


@sabotage("containers", "✗ traefik -> jellyfin:8096/tcp", "dropped on the way")
def the_ingress_loses_a_leg(site: Site) -> None:
    site.docker("network", "disconnect", "vlan20", "traefik")


@sabotage("containers", "✗ prometheus -> cadvisor:8080/tcp", "cadvisor does not run")
def cadvisor_is_stopped(site: Site) -> None:
    site.docker("stop", "cadvisor")


@sabotage("containers", "✗ prometheus -> node-exporter:9100/tcp", "node-exporter does not run")
def node_exporter_is_removed(site: Site) -> None:
    site.docker("rm", "--force", "node-exporter")


@sabotage("containers", "✗ traefik -> docker-srv:*/tcp", "own rules are missing or changed")
def the_host_lets_the_ingress_in(_site: Site) -> None:
    name = host_rules.table(TOPOLOGY)
    done = command("nft", f'insert rule {name} input iifname "br-edge" accept')
    assert done.returncode == 0, done.stdout


@sabotage("containers", "✗ loki -> loki-gateway:3100/tcp", "own rules are missing or changed", RULES)
def a_pair_more_passes(_site: Site) -> None:
    nft("add element {table} declared {{", pair("loki", "loki-gateway", "3100"), "}}")


def _legs(*words: str) -> None:
    done = command("nft", " ".join(words))
    assert done.returncode == 0, done.stdout


LEGS = ("✗ docker-srv's rules of its legs", "`make up` puts them back")


@sabotage("set", *LEGS)
def the_rules_of_the_legs_are_removed(_site: Site) -> None:
    _legs(*(f"delete table {name};" for name in leg_rules.names(TOPOLOGY)))


@sabotage("order", *LEGS)
def a_port_of_a_leg_is_opened(_site: Site) -> None:
    ends = f"10.10.10.250 . {TOPOLOGY.zones['wordpress'].ingress} . tcp . 443"
    _legs("add element netdev homelab-network-trunk.10 declared {", ends, "}")


@sabotage("set", "✗ prometheus -> node-exporter:9100/tcp", "a rule is missing or too narrow", RULES)
def the_set_of_pairs_is_emptied(_site: Site) -> None:
    nft("flush set {table} declared")


@sabotage("order", "✗ prometheus -> node-exporter:9100/tcp", "a rule is missing or too narrow", RULES)
def what_is_dropped_comes_first(_site: Site) -> None:
    nft("insert rule {table} within tcp dport 9100 drop")


@sabotage("order", "✗ stranger@query -> prometheus:9090/tcp", "own rules are missing or changed", RULES)
def a_bridge_is_accepted_before_the_set(_site: Site) -> None:
    nft('insert rule {table} forward iifname "br-query" oifname "br-query" accept')


@sabotage("order", "✗ stranger@backend -> loki:3100/tcp", "own rules are missing or changed", RULES)
def a_port_is_open_for_every_neighbour(_site: Site) -> None:
    nft("insert rule {table} within tcp dport 3100 accept")


def _switch_off(name: str) -> None:
    Path(f"/proc/sys/net/bridge/bridge-nf-call-{name}").write_text("0")


@sabotage("switch", "✗ node-exporter -> cadvisor:8080/tcp", "are missing or changed", SWITCH)
def frames_within_a_bridge_meet_no_rule(_site: Site) -> None:
    _switch_off("iptables")


@sabotage("identity", *SWITCH)
def ipv6_frames_within_a_bridge_meet_no_rule(_site: Site) -> None:
    _switch_off("ip6tables")
