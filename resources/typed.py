"""Parses the inputs of each supported resource type.

Note: a type that is not in `TYPES` is parsed as `Unsupported`, which is a violation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from pydantic import ConfigDict, ValidationError

from rendered import host_rules, leg_rules, router_rules, verify_timer
from resources import docker, proxmox, proxmox_guests, tls
from resources.inputs import Ignored, Inputs, Settings, Unsupported
from resources.resource import UNKNOWN, Resource, Trail
from topology.model import Ssh, Topology


class SshConnection(Settings):
    """A remote command's connection to its host; how it logs in there does not matter."""

    host: str = ""
    host_key: str = ""
    port: float = 22
    user: str = "root"
    proxy: Any = None


class ProjectCommand(Enum):
    """The project's own commands, on Docker-SRV and on a router."""

    HOST_RULES = "host rules"
    LEG_RULES = "leg rules"
    BRIDGE_SWITCH = "bridge switch"
    BOOT_RULES = "boot rules"
    PROBE_RULES = "probe rules"
    VERIFY_TIMER = "verify timer"
    ROUTER_RULES = "router rules"
    ROUTER_BOOT_RULES = "router boot rules"

    def ssh(self, topology: Topology) -> Ssh | None:
        """Return the connection to the command's host; None: it runs on this machine."""
        on_router = self in {ProjectCommand.ROUTER_RULES, ProjectCommand.ROUTER_BOOT_RULES}
        host = topology.router if on_router else topology.docker_host
        return host.ssh if host else None

    def is_for(self, topology: Topology) -> bool:
        """Whether the site has the command's host, and commands are to run there."""
        if self in {ProjectCommand.ROUTER_RULES, ProjectCommand.ROUTER_BOOT_RULES}:
            return topology.router is not None and topology.router.ssh is not None
        return topology.docker_host is not None

    def texts(self, topology: Topology, stack: str) -> Iterator[str]:
        """Yield create command, delete command and standard input, as the program writes them."""
        match self:
            case ProjectCommand.HOST_RULES:
                yield from (host_rules.INSTALL, host_rules.remove(topology))
                yield host_rules.rules(topology)
            case ProjectCommand.LEG_RULES:
                yield from (leg_rules.install(topology), leg_rules.remove(topology))
                yield leg_rules.rules(topology)
            case ProjectCommand.BRIDGE_SWITCH:
                yield from (host_rules.SWITCH_ON, host_rules.SWITCH_OFF, "")
            case ProjectCommand.BOOT_RULES:
                yield from (host_rules.KEEP, host_rules.forget(topology))
                yield host_rules.keep(topology)
            case ProjectCommand.PROBE_RULES:
                yield from (host_rules.open_probes(topology), host_rules.close_probes(topology), "")
            case ProjectCommand.VERIFY_TIMER:
                yield from (verify_timer.INSTALL, verify_timer.remove(topology))
                yield verify_timer.script(topology, stack)
            case ProjectCommand.ROUTER_RULES:
                yield from (router_rules.INSTALL, router_rules.remove(topology))
                yield router_rules.nftables(topology)
            case ProjectCommand.ROUTER_BOOT_RULES:
                yield from (router_rules.KEEP, router_rules.forget(topology))
                yield router_rules.keep(topology)


class Command(Inputs, inert="addPreviousOutputInEnv triggers"):
    """Any resource of the command provider; only the project's own commands are understood."""

    model_config = ConfigDict(extra="allow")
    create: str = ""
    delete: str = ""
    stdin: str = ""
    connection: SshConnection | None = None

    def ours(self, topology: Topology, stack: str, kind: str) -> ProjectCommand | None:
        """Return which of the project's own commands this is, if type, text and host match exactly."""
        if self.model_extra:
            return None
        said = (self.create, self.delete, self.stdin)
        for own in ProjectCommand:  # the long texts last, and only if the others are equal
            if not own.is_for(topology) or not self.runs_on(own.ssh(topology)):
                continue
            if kind != f"command:{'remote' if own.ssh(topology) else 'local'}:Command":
                continue
            if all(map(str.__eq__, said, own.texts(topology, stack))):
                return own
        return None

    def difference(self, topology: Topology, stack: str) -> str:
        """Return how the command differs from the project's own one nearest to it; empty if none is near."""
        if self.model_extra:
            return f"{min(self.model_extra)} is not understood"
        said = {"create": self.create, "delete": self.delete, "stdin": self.stdin}
        near = {"": 1}
        for own in filter(lambda each: each.is_for(topology), ProjectCommand):
            texts = zip(said.items(), own.texts(topology, stack), strict=True)
            other = [name for (name, text), wanted in texts if text != wanted]
            what = f"its {other[0]} is not that of" if other else "it runs elsewhere than"
            near[f"{what} the project's {own.value}"] = len(said) - len(other)
        return max(near, key=lambda each: near[each])

    def runs_on(self, ssh: Ssh | None) -> bool:
        """Whether the command runs where a connection leads; None: on this machine."""
        there = self.connection
        return (there and (there.host, there.host_key, there.user)) == (
            ssh and (ssh.address, ssh.host_key, ssh.user)
        )


_FIREWALL: Final = "proxmoxve:firewall/"
_LINUX: Final = "proxmoxve:network/linux/"
TYPES: Final[Mapping[str, type[Inputs]]] = {
    "pulumi:pulumi:Stack": Ignored,
    "pulumi:pulumi:StackReference": Ignored,
    "pulumi:providers:pulumi": Ignored,
    "pulumi:providers:command": Ignored,
    "pulumi:providers:docker": docker.DockerProvider,
    "pulumi:providers:proxmoxve": proxmox.ProxmoxProvider,
    "docker:index/container:Container": docker.DockerContainer,
    "docker:index/network:Network": docker.DockerNetwork,
    "docker:index/volume:Volume": docker.Volume,
    "docker:index/remoteImage:RemoteImage": docker.RemoteImage,
    "docker:index/service:Service": docker.SwarmService,
    "proxmoxve:index/vmLegacy:VmLegacy": proxmox_guests.VirtualMachine,
    "proxmoxve:index/containerLegacy:ContainerLegacy": proxmox_guests.SystemContainer,
    f"{_FIREWALL}rulesLegacy:RulesLegacy": proxmox.FirewallRules,
    f"{_FIREWALL}ipsetLegacy:IpsetLegacy": proxmox.Ipset,
    f"{_FIREWALL}aliasLegacy:AliasLegacy": proxmox.Alias,
    f"{_FIREWALL}optionsLegacy:OptionsLegacy": proxmox.FirewallOptions,
    "proxmoxve:cluster/firewall/security/groupLegacy:GroupLegacy": proxmox.SecurityGroup,
    "proxmoxve:cluster/firewallLegacy:FirewallLegacy": proxmox.DatacenterFirewall,
    "proxmoxve:node/firewall:Firewall": proxmox.NodeFirewall,
    "proxmoxve:node/firewallLegacy:FirewallLegacy": proxmox.NodeFirewall,
    f"{_LINUX}bridge:Bridge": proxmox.Bridge,
    f"{_LINUX}bridgeLegacy:BridgeLegacy": proxmox.Bridge,
    f"{_LINUX}vlan:Vlan": proxmox.VlanInterface,
    f"{_LINUX}vlanLegacy:VlanLegacy": proxmox.VlanInterface,
    "tls:index/privateKey:PrivateKey": tls.PrivateKey,
    "tls:index/certRequest:CertRequest": tls.Request,
    "tls:index/selfSignedCert:SelfSignedCert": tls.Authority,
    "tls:index/locallySignedCert:LocallySignedCert": tls.TlsCertificate,
    "command:local:Command": Command,
    "command:remote:Command": Command,
    "command:remote:CopyFile": Command,
    "command:remote:CopyToRemote": Command,
}


@dataclass(frozen=True, kw_only=True)
class InputFault:
    """An input that cannot be read: `why` is `unknown`, `unrecognised` or `malformed`, never the value."""

    path: str
    why: str


_T = TypeVar("_T", bound=Inputs)


@dataclass(frozen=True, kw_only=True)
class TypedResource(Generic[_T]):
    """A resource with its parsed inputs; `inputs` leave out the faulty properties."""

    resource: Resource
    inputs: _T
    faults: tuple[InputFault, ...] = ()

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return self.resource.name


def view(resource: Resource) -> TypedResource[Any]:
    """Return the view of a resource; its inputs are `Unsupported` if the type is not supported."""
    kind = TYPES.get(resource.type) or (Ignored if _is_bare(resource) else Unsupported)
    try:
        return TypedResource(resource=resource, inputs=kind.model_validate(resource.inputs))
    except ValidationError as error:
        faults = [
            (item["loc"], item["type"]) for item in error.errors(include_input=False, include_url=False)
        ]
        bad = {where[0] for where, _ in faults}
        rest = {key: value for key, value in resource.inputs.items() if key not in bad}
        return TypedResource(
            resource=resource,
            inputs=kind.model_validate(rest),
            faults=tuple(
                dict.fromkeys(
                    InputFault(path=dotted(where), why=_why(resource.inputs, where, kind))
                    for where, kind in faults
                )
            ),
        )


def is_secret(view: TypedResource[Any], trail: Trail) -> bool:
    """Whether a value, or part of it, is a Pulumi secret."""
    return any(
        secret[: len(trail)] == trail or trail[: len(secret)] == secret for secret in view.resource.secrets
    )


def _is_bare(resource: Resource) -> bool:
    """Whether a resource is a component or a provider, which are evaluated by their resources."""
    package = resource.type.partition(":")[0]
    if package == "pulumi":
        return resource.type.startswith("pulumi:providers:")
    return not resource.provider and package not in {"docker", "proxmoxve", "command", "tls"}


def dotted(trail: Iterable[str | int]) -> str:
    """Return a path such as `ports[0].external`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in trail).lstrip(".")


def _why(inputs: Mapping[str, Any], where: Trail, kind: str) -> str:
    value: Any = inputs
    for step in where:
        if value is UNKNOWN or not isinstance(value, Mapping | list):
            break
        value = value.get(step) if isinstance(value, Mapping) else value[int(step)]
    if value is UNKNOWN:
        return "unknown"
    return "unrecognised" if kind == "extra_forbidden" else "malformed"
