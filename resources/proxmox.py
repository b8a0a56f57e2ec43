"""Models of the proxmoxve provider's firewall, bridges and connection: what carries traffic, and its meaning.

Defaults are the provider's, sometimes other than Proxmox's own. `resources.proxmox_guests` has the guests.

Note: a firewall resource belongs to a guest by its number, to a node by its name, else to the datacenter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator
from pydantic.alias_generators import to_camel

from resources.inputs import Address, Inputs, Settings

_LAST_TAG: Final = 4094
Policy = Literal["ACCEPT", "DROP", "REJECT"]


class FirewallRule(Inputs, inert="comment pos"):
    """A rule of the Proxmox firewall; with `security_group` set it includes that group's rules."""

    action: Literal["", "ACCEPT", "DROP", "REJECT"] = ""
    dest: str | None = None
    dport: str | None = None
    enabled: bool = True
    iface: str | None = None
    log: str = "nolog"
    macro: str | None = None
    proto: str | None = None
    security_group: str | None = None
    source: str | None = None
    sport: str | None = None
    type: Literal["", "in", "out", "forward"] = ""

    @property
    def observes(self) -> bool:
        """Whether the rule accepts and logs all packets of its direction."""
        limits = (self.dest, self.dport, self.iface, self.macro, self.proto, self.source, self.sport)
        accepts = self.enabled and self.action == "ACCEPT" and not self.security_group
        return accepts and self.log not in {"", "nolog"} and not any(limits)

    def __str__(self) -> str:
        if self.security_group:
            return f"group {self.security_group}"
        ends = {name: getattr(self, name) for name in ("source", "dest", "proto", "dport", "sport")}
        given = (f"{name} {value}" for name, value in ends.items() if value)
        return " ".join([f"{self.type} {self.action}", *given])


class _Scoped(Inputs):
    """A firewall resource of a guest, a node or, with neither set, the datacenter."""

    node_name: str = ""
    vm_id: int | None = None
    container_id: int | None = None

    @property
    def guest(self) -> int | None:
        """Id of the guest that the resource belongs to."""
        return self.vm_id or self.container_id


class FirewallRules(_Scoped):
    """A proxmoxve.firewall.RulesLegacy resource."""

    rules: tuple[FirewallRule, ...] = ()


class SecurityGroup(Inputs, inert="comment"):
    """A proxmoxve.cluster.firewall.security.GroupLegacy resource."""

    name: str = ""
    rules: tuple[FirewallRule, ...] = ()


class IpsetMember(Inputs, inert="comment"):
    """A member of an ipset."""

    name: str
    nomatch: bool = False


class Ipset(_Scoped, inert="comment"):
    """A proxmoxve.firewall.IpsetLegacy resource."""

    name: str = ""
    cidrs: tuple[IpsetMember, ...] = ()


class Alias(_Scoped, inert="comment"):
    """A proxmoxve.firewall.AliasLegacy resource."""

    name: str = ""
    cidr: str = ""


class FirewallOptions(_Scoped, inert="log_level_in log_level_out ndp"):
    """A proxmoxve.firewall.OptionsLegacy resource."""

    enabled: bool = False
    input_policy: Policy = "DROP"
    output_policy: Policy = "ACCEPT"
    dhcp: bool = False
    ipfilter: bool = False
    macfilter: bool = True
    radv: bool = True


class DatacenterFirewall(Inputs, inert="forward_policy log_ratelimit"):
    """A proxmoxve.cluster.FirewallLegacy resource. The provider sends a missing `ebtables` as off."""

    enabled: bool = False
    input_policy: Policy = "DROP"
    output_policy: Policy = "ACCEPT"
    ebtables: bool = False


class NodeFirewall(
    Inputs,
    inert="log_level_forward log_level_in log_level_out ndp nf_conntrack_max "
    "nf_conntrack_tcp_timeout_established nosmurfs smurf_log_level tcp_flags_log_level",
):
    """A proxmoxve.node.Firewall resource."""

    node_name: str = ""
    enabled: bool = True
    nftables: bool = False


class ProxmoxSsh(Inputs, inert="agent agent_socket password private_key username"):
    """The login by which the provider copies files to a node; all of it but other machines is inert."""

    agent_forwarding: bool = False
    node_address_source: Annotated[str, BeforeValidator(lambda value: "" if value == "api" else value)] = ""
    """Where the addresses of nodes are from; empty: the API itself."""
    nodes: tuple[Any, ...] = ()
    socks5_server: str = ""


def _nested(value: Any) -> Any:
    """Return a provider's nested setting, which the engine passes on in JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


class _Interface(Inputs, inert="autostart comment mtu timeout_reload"):
    """A network interface of a Proxmox node."""

    name: str = ""
    node_name: str = ""
    address: Address = None
    address6: str = ""
    gateway: str = ""
    gateway6: str = ""


class Bridge(_Interface):
    """A proxmoxve.network.linux.BridgeLegacy resource."""

    ports: tuple[str, ...] = ()
    vids: str = "2-4094"
    vlan_aware: bool = False

    @property
    def tags(self) -> set[int]:
        """VLAN tags that the bridge carries; 0 stands for each invalid tag."""
        ends = [part.partition("-") for part in re.split(r"[\s,;]+", self.vids) if part]
        return {each for low, _, high in ends for each in range(tag(low), tag(high or low) + 1)} | {
            0 for low, _, high in ends if not (tag(low) and tag(high or low))
        }


class VlanInterface(_Interface):
    """A proxmoxve.network.linux.VlanLegacy resource."""

    interface: str = ""
    vlan: int | None = None


class ProxmoxProvider(Settings):
    """Connection settings of Proxmox's API."""

    endpoint: str = ""
    insecure: bool = False
    min_tls: str = ""
    ssh: Annotated[ProxmoxSsh, BeforeValidator(_nested)] = ProxmoxSsh()

    @property
    def detours(self) -> Iterator[str]:
        """Settings of ssh by which the login reaches another machine than the API's nodes."""
        yield from (to_camel(name) for name in ProxmoxSsh.model_fields if getattr(self.ssh, name))

    @property
    def place(self) -> str:
        """The API's URL."""
        return self.endpoint

    @property
    def unverified(self) -> str:
        """Why the API's certificate is not verified; empty if it is."""
        if self.endpoint and not self.endpoint.lower().startswith("https://"):
            return "endpoint is reached without TLS; it must begin with https://"
        if self.min_tls not in {"", "1.2", "1.3"}:
            return "minTls takes TLS older than 1.2"
        return "insecure switches certificate checks off" if self.insecure else ""


def bare_name(name: str) -> str:
    """Return the lower-case name of a set or alias, without sign and scope; Proxmox ignores case."""
    return re.sub(r"^\+?(dc/|guest/)?", "", name).lower()


def tag(text: str) -> int:
    """Return a VLAN tag; 0 for text that is no valid tag."""
    number = int(text) if re.fullmatch("[0-9]{1,4}", text) else 0
    return number if number <= _LAST_TAG else 0
