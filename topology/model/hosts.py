"""The machines of a site: Docker-SRV, and the nodes of its Proxmox cluster."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from pydantic import Field

from topology.model.flows import Port
from topology.model.values import Every, Flag, HostKey, InterfaceName, Name, PublicKey, StorageName, Value


class Ssh(Value):
    """SSH access to a host: its address, its pinned key, and a user who may run `nft`.

    The private key is the stack's secret `ssh:privateKey`.
    """

    address: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    user: str = Field(default="root", pattern=r"^[a-z_][a-z0-9_-]*$")
    host_key: HostKey


class DockerHost(Value):
    """A Docker host. `address` is where the ingress publishes its ports, on another host than the ingress's
    the host's own; `trunk` is the interface whose VLAN interfaces (`<trunk>.<tag>`) carry containers' legs;
    `data_root` is the engine's data folder.
    """

    name: Name
    address: IPv4Address = IPv4Address("0.0.0.0")  # noqa: S104  # the ingress listens on every address
    trunk: InterfaceName | None = None
    data_root: str = Field(default="/var/lib/docker", pattern=r"^/[^\r\n]*$")
    metrics: str = Field(default="/var/lib/homelab-network/metrics", pattern=r"^/[\w./-]*$")
    """Folder for the metrics of the live probe's last run. Node Exporter reads them there."""
    probe_every: Every = Field(default="30s", validate_default=True)
    """Interval between two probes of Docker-SRV from the probe zone."""
    verify_every: Every | None = None
    """Interval between two runs of the live probe by a timer on Docker-SRV; None: no timer."""
    project: str = Field(default="/opt/homelab-network", pattern=r"^/[\w./-]*$")
    """Folder of this project on Docker-SRV, from which the timer runs it."""
    trusted_proxies: tuple[IPv4Network, ...] = ()
    """Proxies and tunnels in front of the ingress. Traefik trusts their X-Forwarded-* headers."""
    name_servers: tuple[IPv4Address, ...] = ()
    """Name servers of the containers in egress zones: on the internet, external machines or guests."""
    closed: Flag = False
    """Whether the host's own rules drop what reaches it from outside, but for declared flows to `ports`."""
    ports: tuple[Port, ...] = ()
    """Ports of its own programs that flows of management may open."""
    ssh: Ssh | None = None
    """None: Docker-SRV is the machine that runs Pulumi."""


class ProxmoxHost(Value):
    """Proxmox-SRV, or one node of its cluster. `template` is the VM id that guests are cloned from, `storage`
    holds their disks, `uplink` is the node's network port that connects the bridge to Docker-SRV's trunk and
    to other nodes.
    """

    name: Name
    node: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$")
    bridge: InterfaceName = "vmbr1"
    existing_bridge: Flag = False
    """Whether the node already has the bridge. The stack then neither creates, changes nor deletes it."""
    uplink: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=15)
    """None: the bridge has no port of the node."""
    storage: StorageName = "local-lvm"
    shared_storage: Flag = False
    """Whether every node has `storage` with the same content, so that a template on another node will do."""
    snippets: StorageName | None = None
    """Storage of the cloud-init files of guests and a router; None: guests run their template unchanged."""
    name_servers: tuple[IPv4Address, ...] = ()
    """The guests' name servers; empty: the node's own."""
    authorized_keys: tuple[PublicKey, ...] = ()
    """SSH keys that may log in to guests that set themselves up and list SSH among their ports."""
    address: IPv4Address | None = None
    """The node's address in a management zone; None: the IP address in its API's URL, if there is one."""
    template: int = Field(default=9000, ge=100, le=999_999_999)
    ports: tuple[Port, ...] = (Port(number=8006), Port(number=22))
