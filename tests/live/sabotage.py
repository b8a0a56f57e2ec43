"""Changes made to the live network outside Pulumi, and the lines that the probe must print about each.

Each is made on the running dev stack. Those without `undo` change resources that Pulumi owns: the next `make
up` repairs them. They are applied in rounds in which none hides another.
"""

# ruff: noqa: D103  # a sabotage's name describes the change

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from lab import paths, proxmox, tls
from rendered import host_rules
from tests.live.site import PROJECT, Site, command, eventually
from topology.config import from_file

TOPOLOGY = from_file(PROJECT / "Pulumi.dev.yaml")
NODE = "nodes/pve1/qemu"
CATCH_ALL = """\
http:
  routers: {stray: {rule: "PathPrefix(`/`)", entryPoints: [websecure], service: stray, priority: 1}}
  services: {stray: {loadBalancer: {servers: [{url: "http://10.10.20.11:8096"}]}}}
"""


@dataclass(frozen=True, kw_only=True)
class Sabotage:
    """`lines` are what the probe must print: the start of a line, and other text in it."""

    do: Callable[[Site], object]
    lines: tuple[tuple[str, str], ...]
    undo: Callable[[Site], object] | None = None

    def __str__(self) -> str:
        return self.do.__name__


ROUNDS: dict[str, list[Sabotage]] = {}


def sabotage(
    number: str, line: str, cause: str, *more: tuple[str, str], undo: Callable[[Site], object] | None = None
) -> Callable[[Callable[[Site], object]], Callable[[Site], object]]:
    """Register a change and its round."""

    def register(do: Callable[[Site], object]) -> Callable[[Site], object]:
        ROUNDS.setdefault(number, []).append(Sabotage(do=do, lines=((line, cause), *more), undo=undo))
        return do

    return register


def api(method: str, path: str, **form: Any) -> Any:
    """Call the Proxmox API, as a user does through its web page."""
    answer = requests.request(
        method,
        f"{proxmox.URL}/api2/json/{path}",
        data=form or None,
        headers={"Authorization": f"PVEAPIToken={proxmox.token()}"},
        verify=str(tls.bundle()),
        timeout=10,
    )
    assert answer.ok, answer.text
    return answer.json()["data"]


def set_options(vm: int, **options: Any) -> None:
    """Change a guest's firewall options."""
    api("PUT", f"{NODE}/{vm}/firewall/options", **options)


def change_card(vm: int, old: str, new: str) -> None:
    """Replace a word of a guest's network card."""
    card = api("GET", f"{NODE}/{vm}/config")["net0"]
    assert old in card
    api("PUT", f"{NODE}/{vm}/config", net0=card.replace(old, new))


def inside(vm: int, *words: str) -> None:
    """Run a program in a guest's network namespace."""
    done = command("ip", "netns", "exec", f"vm-{vm}", *words)
    assert done.returncode == 0, done.stdout


def switch(*words: str) -> None:
    """Run a command on the switch."""
    done = command("ovs-vsctl", f"--db=unix:{paths.RUN}/ovs/db.sock", "--timeout=10", *words)
    assert done.returncode == 0, done.stdout


def image(service: str) -> str:
    """Return the image of a container service."""
    return str(TOPOLOGY.services[service].image)


# ------------------------------------------------------------------------------------------- containers


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


def nft(*words: str) -> None:
    """Run nft on a rule or element of the project's table, whose name stands for `{table}`."""
    done = command("nft", " ".join(words).format(table=host_rules.table(TOPOLOGY)))
    assert done.returncode == 0, done.stdout


def pair(source: str, destination: str, port: str) -> str:
    """Return the element of the rules' set for a flow on backend."""
    ends = (str(TOPOLOGY.address_on(name, TOPOLOGY.zones["backend"])) for name in (source, destination))
    return " . ".join((*ends, "tcp", port))


RULES = ("✗ docker-srv's own rules", "`make up` puts them back")
SWITCH = ("✗ docker-srv's switch that shows its rules frames within a bridge", "`make up` puts them back")


@sabotage("containers", "✗ loki -> loki-gateway:3100/tcp", "own rules are missing or changed", RULES)
def a_pair_more_passes(_site: Site) -> None:
    nft("add element {table} declared {{", pair("loki", "loki-gateway", "3100"), "}}")


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


# ------------------------------------------------------------------------------------------ guests' rules


@sabotage("rules", "✗ stranger@wordpress -> site-1:443/tcp", "is it on at datacenter, guest and card?")
def a_guests_firewall_is_off(_site: Site) -> None:
    set_options(101, enable=0)


@sabotage("rules", "✗ stranger@wordpress -> site-2:443/tcp", "is it on at datacenter, guest and card?")
def a_cards_firewall_is_off(_site: Site) -> None:
    change_card(102, "firewall=1", "firewall=0")


@sabotage("rules", "✗ stranger@apps -> jellyfin:8096/tcp", "lets in more than its flows name")
def a_rule_is_widened(_site: Site) -> None:
    api("PUT", "cluster/firewall/groups/jellyfin/0", delete="source")


@sabotage("rules", "✗ traefik -> stirling-pdf:8080/tcp", "a rule is missing or too narrow")
def a_rule_is_put_before_the_others(_site: Site) -> None:
    api("POST", f"{NODE}/202/firewall/rules", type="in", action="DROP", enable=1)


@sabotage("rules", "✗ traefik -> vaultwarden:80/tcp", "a rule is missing or too narrow")
def a_rule_is_deleted(_site: Site) -> None:
    api("DELETE", "cluster/firewall/groups/vaultwarden/0")


@sabotage("rules", "✗ internet -> proxmox-srv:22/tcp", "is it on at datacenter and node?")
def the_rule_of_management_is_widened(_site: Site) -> None:
    """A source outside management detects it: management's own network reaches the port in any case."""
    rules = api("GET", "cluster/firewall/rules")
    (position,) = (rule["pos"] for rule in rules if rule.get("dport") == "22")
    api("PUT", f"cluster/firewall/rules/{position}", delete="source")


@sabotage("rules", "✗ vaultwarden -> traefik:*/tcp", "is its output policy DROP?")
def what_a_guest_sends_is_accepted(_site: Site) -> None:
    set_options(301, policy_out="ACCEPT")


def _node_on(_site: Site) -> None:
    api("PUT", "nodes/pve1/firewall/options", enable=1)


@sabotage("identity", "✗ internet -> proxmox-srv:22/tcp", "is it on at datacenter and node?", undo=_node_on)
def the_nodes_firewall_is_off(_site: Site) -> None:
    api("PUT", "nodes/pve1/firewall/options", enable=0)


# ------------------------------------------------------------------------------------------------ guests


@sabotage(
    "guests",
    "✗ stranger@wordpress -> site-2:443/tcp",
    "is it on at datacenter, guest and card?",
    ("✗ internet -> proxmox-srv:8006/tcp", "is it on at datacenter and node?"),
)
def the_datacenters_firewall_is_off(_site: Site) -> None:
    api("PUT", "cluster/firewall/options", enable=0)


@sabotage("guests", "✗ traefik -> site-1:443/tcp", "dropped on the way")
def a_guest_moves_to_another_vlan(_site: Site) -> None:
    change_card(101, "tag=10", "tag=30")


@sabotage("guests", "✗ site-2 -> traefik:*/tcp at 10.10.20.2", "is its output policy DROP?")
def a_guest_gets_a_second_card(_site: Site) -> None:
    """The guest also gives itself an address on that VLAN."""
    api("PUT", f"{NODE}/102/config", net1="virtio,bridge=vmbr1,tag=20")
    card = ["ip", "-n", "vm-102", "link", "show", "eth1"]
    eventually("the second card", lambda: command(*card).returncode == 0, 15)
    inside(102, "ip", "address", "add", "10.10.20.99/24", "dev", "eth1")
    inside(102, "ip", "link", "set", "eth1", "up")


@sabotage("guests", "✗ traefik -> jellyfin:8096/tcp", "jellyfin does not run")
def a_guest_is_deleted(_site: Site) -> None:
    api("POST", f"{NODE}/201/status/stop")
    api("DELETE", f"{NODE}/201/")


@sabotage("guests", "✗ traefik -> stirling-pdf:8080/tcp", "stirling-pdf does not run")
def a_guest_is_stopped(_site: Site) -> None:
    api("POST", f"{NODE}/202/status/stop")


# ---------------------------------------------------------------------------------------------- identity


@sabotage("identity", "✗ traefik -> site-1:443/tcp", "a rule is missing or too narrow")
def the_ingresss_alias_is_another_address(_site: Site) -> None:
    api("PUT", "cluster/firewall/aliases/ingress-vlan10", cidr="10.10.10.99", name="ingress-vlan10")


@sabotage("identity", "✗ traefik -> vaultwarden:80/tcp", "a rule is missing or too narrow")
def a_rule_names_another_port(_site: Site) -> None:
    api("PUT", "cluster/firewall/groups/vaultwarden/0", dport="8080")


def _be_itself(_site: Site) -> None:
    inside(202, "ip", "address", "del", "10.10.20.2/24", "dev", "eth0")
    inside(202, "ip", "route", "replace", "10.10.20.0/24", "dev", "eth0", "src", "10.10.20.12")


@sabotage(
    "identity",
    "✗ stirling-pdf -> jellyfin:8096/tcp",
    "is it on at datacenter, guest and card?",
    undo=_be_itself,
)
def a_guest_passes_for_the_ingress(site: Site) -> None:
    """Jellyfin accepts Traefik's address; with the filters off its neighbour takes it, Traefik being off."""
    site.docker("network", "disconnect", "vlan20", "traefik")
    set_options(202, policy_out="ACCEPT", ipfilter=0, macfilter=0)
    api("DELETE", f"{NODE}/202/firewall/ipset/ipfilter-net0", force=1)
    inside(202, "ip", "address", "add", "10.10.20.2/24", "dev", "eth0")
    inside(202, "ip", "route", "replace", "10.10.20.0/24", "dev", "eth0", "src", "10.10.20.2")
    program = "import socket; socket.create_connection(('10.10.20.11', 8096), 2)"

    def believed() -> bool:
        """Whether the neighbour answers; the preceding ARP request announces the address's new owner."""
        inside(202, "ip", "neigh", "flush", "all")
        return command("ip", "netns", "exec", "vm-202", sys.executable, "-c", program).returncode == 0

    eventually("the neighbour takes it for the ingress", believed, 20)


@sabotage("identity", "✗ docker-srv's rules that let the probe zone see", "`make up` puts them back")
def dockers_chain_for_users_is_flushed(_site: Site) -> None:
    assert command("iptables", "--wait", "-F", "DOCKER-USER").returncode == 0


@sabotage("identity", "✗ traefik -> docker-srv:*/tcp", "own rules are missing or changed")
def the_hosts_rules_are_flushed(_site: Site) -> None:
    assert command("sh", "-c", host_rules.remove(TOPOLOGY)).returncode == 0


# ------------------------------------------------------------------- what Pulumi does not own, undone by hand


def _remove_rogue(site: Site) -> None:
    site.docker("rm", "--force", "rogue")


@sabotage(
    "strangers", "✗ internet -> docker-srv:8099/tcp", "a container publishes this port", undo=_remove_rogue
)
def a_stranger_publishes_a_port(site: Site) -> None:
    words = ("--name", "rogue", "--network", "edge", "--publish", "8099:9100")
    site.docker("run", "--detach", *words, image("node-exporter"))


def _remove_newcomer(site: Site) -> None:
    site.docker("rm", "--force", "newcomer")


@sabotage(
    "strangers",
    "✗ newcomer is on backend",
    "no declaration names it",
    undo=_remove_newcomer,
)
def a_stranger_joins_backend(site: Site) -> None:
    words = ("--name", "newcomer", "--network", "backend", "--expose", "80")
    site.docker("run", "--detach", *words, image("prometheus-ui"))


def _leave_vault(site: Site) -> None:
    site.docker("network", "disconnect", "vlan30", "grafana")


@sabotage(
    "strangers",
    "✗ stranger@vault -> grafana:3000/tcp",
    "grafana is on vault, which is not declared",
    undo=_leave_vault,
)
def grafana_joins_vaultwardens_vlan(site: Site) -> None:
    site.docker("network", "connect", "vlan30", "grafana")


def _remove_route(site: Site) -> None:
    # The image has no `rm`; an empty file is no route.
    site.docker("exec", "--user", "0", "traefik", "sh", "-c", ": > /etc/traefik/dynamic/stray.yml")
    site.docker("restart", "traefik")


@sabotage(
    "strangers", "✗ https, a host name without a route", "a route catches every host name", undo=_remove_route
)
def a_route_is_added_by_hand(site: Site) -> None:
    inside_ingress = ["docker", "exec", "--interactive", "--user", "0", "traefik"]
    subprocess.run(
        [*inside_ingress, "sh", "-c", "cat > /etc/traefik/dynamic/stray.yml"],
        input=CATCH_ALL, text=True, check=True, env={**site.environment},
    )  # fmt: skip
    site.docker("restart", "traefik")


_listeners: list[subprocess.Popen[bytes]] = []


def _end_listener(_site: Site) -> None:
    listener = _listeners.pop()
    listener.kill()
    listener.wait()


@sabotage(
    "strangers", "✗ jellyfin listens on 9999/tcp", "no port of the service declares", undo=_end_listener
)
def a_guest_listens_on_one_port_more(_site: Site) -> None:
    program = "import socket, time; s = socket.create_server(('', 9999)); print(flush=True); time.sleep(300)"
    words = ["ip", "netns", "exec", "vm-201", sys.executable, "-c", program]
    listener = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert listener.stdout
    assert listener.stdout.readline()
    _listeners.append(listener)


# ------------------------------------------------------------------------------------- Docker-SRV itself

RELAYS = """
import socket, sys, threading
def pump(one, two):
    while data := one.recv(65536):
        two.sendall(data)
listener = socket.create_server(("", 9977))
print(flush=True)
while True:
    near, _ = listener.accept()
    far = socket.create_connection((sys.argv[1], 3100))
    threading.Thread(target=pump, args=(near, far), daemon=True).start()
    threading.Thread(target=pump, args=(far, near), daemon=True).start()
"""
_BACKEND = TOPOLOGY.zones["backend"]
_TAKEN = {TOPOLOGY.address_on(each.name, _BACKEND) for each in TOPOLOGY.containers if "backend" in each.zones}
# The first is the gateway's, and the newcomers of the probe take the last.
FREE = next(at for at in [*_BACKEND.prefix.hosts()][1:] if at not in _TAKEN)
BACKEND = f"{FREE}/{_BACKEND.prefix.prefixlen}"


def address(change: str, what: str, card: str) -> None:
    """Give this machine an address on an interface, or take it away."""
    done = command("ip", "address", change, what, "dev", card)
    assert done.returncode == 0, done.stdout


def _end_relay(site: Site) -> None:
    _end_listener(site)
    address("del", BACKEND, "br-backend")


@sabotage(
    "host",
    "✗ docker-srv passes 9977/tcp on to loki:3100/tcp",
    "relays past the rules between containers",
    (f"✗ docker-srv has {FREE} on backend", "it was added by hand"),
    undo=_end_relay,
)
def the_host_relays_a_port_to_loki(_site: Site) -> None:
    """The host has no address on backend, so it gets one first."""
    address("add", BACKEND, "br-backend")
    loki = str(TOPOLOGY.address_on("loki", TOPOLOGY.zones["backend"]))
    relay = subprocess.Popen([sys.executable, "-c", RELAYS, loki], stdout=subprocess.PIPE)
    assert relay.stdout
    assert relay.stdout.readline()
    _listeners.append(relay)


def _leave_the_guests(_site: Site) -> None:
    address("del", "10.10.10.77/24", "trunk.10")


@sabotage(
    "host",
    "✗ docker-srv has 10.10.10.77 on wordpress",
    "it was added by hand; trunk.10 has none",
    undo=_leave_the_guests,
)
def the_host_has_an_address_among_guests(_site: Site) -> None:
    address("add", "10.10.10.77/24", "trunk.10")


def _remove_the_other(site: Site) -> None:
    site.docker("rm", "--force", "node-exporter")


@sabotage(
    "names",
    "✗ node-exporter -> internet:name",
    "the engine asks 127.0.0.53 for it",
    undo=_remove_the_other,
)
def a_container_is_made_anew_with_the_hosts_name_server(site: Site) -> None:
    at = str(TOPOLOGY.address_on("node-exporter", TOPOLOGY.zones["backend"]))
    where = ("--network", "backend", "--ip", at, "--dns", "127.0.0.53")
    site.docker("rm", "--force", "node-exporter")
    site.docker("run", "--detach", "--name", "node-exporter", *where, image("node-exporter"))


@sabotage("impostors", "✗ newcomer is called loki on backend", "with this alias", undo=_remove_newcomer)
def a_stranger_takes_lokis_name(site: Site) -> None:
    words = ("--name", "newcomer", "--network", "backend", "--network-alias", "loki")
    site.docker("run", "--detach", *words, image("prometheus-ui"))


LOKI = str(TOPOLOGY.address_on("loki", _BACKEND))


def in_container(site: Site, name: str, *words: str) -> None:
    """Run a program of this machine in a container's network."""
    pid = site.docker("inspect", "--format", "{{.State.Pid}}", name).strip()
    done = command("nsenter", f"--net=/proc/{pid}/ns/net", *words)
    assert done.returncode == 0, done.stdout


def _be_cadvisor(site: Site) -> None:
    """Neighbours forget whose hardware answered, which would take them some seconds."""
    in_container(site, "cadvisor", "ip", "address", "del", f"{LOKI}/32", "dev", "eth0")
    for name in ("loki-gateway", "prometheus", "promtail"):
        in_container(site, name, "ip", "neigh", "flush", "all")


@sabotage(
    "impostors", f"✗ cadvisor has {LOKI} on backend", "added inside by hand; it is loki's", undo=_be_cadvisor
)
def a_container_takes_a_neighbours_address(site: Site) -> None:
    in_container(site, "cadvisor", "ip", "address", "add", f"{LOKI}/32", "dev", "eth0")


def _be_stirling(_site: Site) -> None:
    inside(202, "ip", "address", "del", "10.10.20.77/24", "dev", "eth0")


@sabotage(
    "impostors", "✗ stirling-pdf has 10.10.20.77 on apps", "it was added inside by hand", undo=_be_stirling
)
def a_guest_takes_a_second_address(_site: Site) -> None:
    inside(202, "ip", "address", "add", "10.10.20.77/24", "dev", "eth0")


IPV6 = "fd00:3::1/64"
IPV6_OFF = Path("/proc/sys/net/ipv6/conf/br-backend/disable_ipv6")
_ipv6_was: list[str] = []


def _without_ipv6(_site: Site) -> None:
    address("del", IPV6, "br-backend")
    IPV6_OFF.write_text(_ipv6_was.pop())


@sabotage(
    "impostors", "✗ docker-srv has fd00:3::1 on backend", "IPv6 was switched on there", undo=_without_ipv6
)
def a_network_gets_ipv6(_site: Site) -> None:
    _ipv6_was.append(IPV6_OFF.read_text())
    IPV6_OFF.write_text("0")
    address("add", IPV6, "br-backend")


@sabotage("set", *RULES)
def ipv6_passes_within_a_bridge(_site: Site) -> None:
    nft("insert rule {table} within meta nfproto ipv6 accept")


@sabotage("order", *RULES)
def fragments_are_accepted(_site: Site) -> None:
    nft("insert rule {table} within ip frag-off & 0x1fff != 0 accept")


@sabotage("names", "✗ docker-srv's own rules", "`make up` puts them back")
def a_pair_is_taken_away(_site: Site) -> None:
    nft("delete element {table} declared {{", pair("prometheus", "node-exporter", "9100"), "}}")


def _plug(_site: Site) -> None:
    command("ip", "link", "set", "tap301i0", "up")


CUT_OFF = ("? ", "no packet of vaultwarden was seen to pass in this run")


@sabotage("strangers", "✗ traefik -> vaultwarden:80/tcp", "the live network", CUT_OFF, undo=_plug)
def a_cable_is_pulled(_site: Site) -> None:
    command("ip", "link", "set", "tap301i0", "down")


def _retag(_site: Site) -> None:
    switch("set", "port", "tap102i0", "tag=10")


@sabotage("strangers", "✗ traefik -> site-2:443/tcp", "the live network", undo=_retag)
def a_port_of_the_switch_is_retagged(_site: Site) -> None:
    switch("set", "port", "tap102i0", "tag=30")
