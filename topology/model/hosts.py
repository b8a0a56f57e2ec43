"""The two machines of a site."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from pydantic import Field

from topology.model.flows import Port
from topology.model.values import Every, Flag, HostKey, Interface, Name, PublicKey, Value


class Ssh(Value):
    """How commands reach a host: as a user who may run `nft`, to a host whose key is pinned.

    The private key is no configuration but the stack's secret `ssh:privateKey`.
    """

    address: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    user: str = Field(default="root", pattern=r"^[a-z_][a-z0-9_-]*$")
    host_key: HostKey


class DockerHost(Value):
    """Docker-SRV. `address` is where the ingress publishes its ports; `trunk` the interface whose VLAN
    interfaces (`<trunk>.<tag>`) carry the ingress's legs; `data_root` the engine's folder (logs, cAdvisor).
    """

    name: Name
    address: IPv4Address = IPv4Address("0.0.0.0")  # noqa: S104  # the single way in listens on every address
    trunk: Interface | None = None
    data_root: str = Field(default="/var/lib/docker", pattern=r"^/[^\r\n]*$")
    metrics: str = Field(default="/var/lib/homelab-network/metrics", pattern=r"^/[\w./-]*$")
    """Folder in which the live probe leaves the metrics of its last run, and Node Exporter reads them."""
    probe_every: Every = Field(default="30s", validate_default=True)
    """How often Docker-SRV is probed from the probe zone."""
    verify_every: Every | None = None
    """How often a timer there runs the live probe; None: no timer."""
    project: str = Field(default="/opt/homelab-network", pattern=r"^/[\w./-]*$")
    """Folder of this project there, which the timer runs."""
    trusted_proxies: tuple[IPv4Network, ...] = ()
    """Who may tell the ingress for whom a request is made: the proxies and tunnels in front of it."""
    ssh: Ssh | None = None
    """None: Docker-SRV is the machine that runs Pulumi."""


class ProxmoxHost(Value):
    """Proxmox-SRV. `template` is the VM id that guests are cloned from, `storage` where their disks go,
    `uplink` the node's network port that joins the bridge to Docker-SRV's trunk.
    """

    name: Name
    node: str = Field(min_length=1)
    bridge: Interface = "vmbr1"
    existing_bridge: Flag = False
    """Whether the bridge is the node's own already; nothing here makes, changes or removes it then."""
    uplink: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=15)
    """None: the bridge leads out of the node by none of its ports."""
    storage: str = Field(default="local-lvm", min_length=1)
    snippets: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9._-]*$")
    """The storage with the guests' cloud-init files; None: guests are what their template is."""
    name_servers: tuple[IPv4Address, ...] = ()
    """What guests ask for names; none: what the node asks."""
    authorized_keys: tuple[PublicKey, ...] = ()
    """Who may log in to guests that set themselves up, with SSH among their ports."""
    address: IPv4Address | None = None
    """Its own in a management zone; None: the one in the address of its API, if that is one."""
    template: int = Field(default=9000, ge=100, le=999_999_999)
    ports: tuple[Port, ...] = (Port(number=8006), Port(number=22))
