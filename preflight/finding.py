"""A reason why `make up` would fail or do harm, and the names of all checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Check(StrEnum):
    """The pre-flight's checks; docs/preflight.md explains each."""

    ENGINE_SILENT = "engine-silent"
    ENGINE_PODMAN = "engine-podman"
    ENGINE_ROOTLESS = "engine-rootless"
    ENGINE_OLD = "engine-old"
    ENGINE_GATEWAY_MODE = "engine-gateway-mode"
    ENGINE_API = "engine-api"
    ENGINE_IPTABLES = "engine-iptables"
    ENGINE_OTHER_IPTABLES = "engine-other-iptables"
    ENGINE_DIRECT_ROUTING = "engine-direct-routing"
    ENGINE_NETWORK_OPTIONS = "engine-network-options"
    ENGINE_USER_NAMESPACES = "engine-user-namespaces"
    ENGINE_RAW_RULES = "engine-raw-rules"
    ENGINE_FORWARDING = "engine-forwarding"
    ENGINE_DATA_ROOT = "engine-data-root"
    BRIDGE_FILTER = "bridge-filter"
    LOCK_OUT = "lock-out"
    CONTAINER_TAKEN = "container-taken"
    NETWORK_TAKEN = "network-taken"
    VOLUME_TAKEN = "volume-taken"
    BRIDGE_TAKEN = "bridge-taken"
    TABLE_TAKEN = "table-taken"
    BRIDGED_FRAMES = "bridged-frames"
    LEG_INTERFACE = "leg-interface"
    PREFIX_TAKEN = "prefix-taken"
    PREFIX_IN_POOL = "prefix-in-pool"
    PORT_TAKEN = "port-taken"
    PROXMOX_SILENT = "proxmox-silent"
    NODE_UNKNOWN = "node-unknown"
    TEMPLATE_MISSING = "template-missing"
    STORAGE_MISSING = "storage-missing"
    ROOT_ALONE = "root-alone"
    VM_TAKEN = "vm-taken"
    VM_MISSING = "vm-missing"
    FIREWALL_NAME_TAKEN = "firewall-name-taken"
    FIREWALL_RULES_TAKEN = "firewall-rules-taken"
    GUEST_CUT_OFF = "guest-cut-off"
    NODE_BRIDGE_TAKEN = "node-bridge-taken"
    NODE_BRIDGE_MISSING = "node-bridge-missing"
    UPLINK = "uplink"
    CLOCK = "clock"
    SPACE = "space"
    ROOT = "root"
    STACK_UNKNOWN = "stack-unknown"
    STACK_FILE_OLD = "stack-file-old"
    STATE_LOST = "state-lost"
    RUN_IN_PROGRESS = "run-in-progress"


@dataclass(frozen=True)
class PreflightFinding:
    """A fault, with its path and remedy."""

    check: Check
    path: str
    fault: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}; {self.remedy}"
