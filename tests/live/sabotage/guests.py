"""Changes of guests, their firewalls and identities, which the next `make up` repairs."""

# ruff: noqa: D103  # a sabotage's name describes the change

from __future__ import annotations

import sys

from rendered import host_rules
from tests.live.sabotage.change import NODE, TOPOLOGY, api, change_card, inside, sabotage, set_options
from tests.live.site import Site, command, eventually

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


@sabotage("rules", "✗ stirling-pdf -> jellyfin:8096/tcp", "lets in more than its flows name")
def what_a_guest_sends_is_accepted(_site: Site) -> None:
    """Seen where a neighbour's firewall lets it in, which `a_rule_is_widened` has seen to."""
    set_options(202, policy_out="ACCEPT")


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


@sabotage("guests", "✗ site-2 has 10.10.20.99 on apps", "it was added inside by hand")
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
