"""What Pulumi does not own: each change takes itself back, or the next `make up` does."""

# ruff: noqa: D103  # a sabotage's name describes the change

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.live.sabotage.change import RULES, TOPOLOGY, image, inside, nft, pair, sabotage, switch
from tests.live.site import Site, command

CATCH_ALL = """\
http:
  routers: {stray: {rule: "PathPrefix(`/`)", entryPoints: [websecure], service: stray, priority: 1}}
  services: {stray: {loadBalancer: {servers: [{url: "http://10.10.20.11:8096"}]}}}
"""


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
    "✗ grafana is on vault",
    "joined to that network by hand",
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
