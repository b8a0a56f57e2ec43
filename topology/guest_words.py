"""Messages about Proxmox's words that a guest does not take: why, and what to write instead."""

from __future__ import annotations

from typing import Final

_OUT = "leave it out"
_TEMPLATE = ("is the template's", "set it in the template from which the guest is made")
_ZONE = ("follows from its zone: one card, whose firewall is known", "name the network in zone")
_CARD = (
    "would give it a device of the node by its address",
    "write kind: lxc, with devices like /dev/dri/renderD128 or /dev/ttyACM0 and an exception",
)

REFUSED: Final[dict[str, tuple[str, str]]] = {
    "agent": ("is off for every guest", _OUT),
    "bios": _TEMPLATE,
    "bridge": _ZONE,
    "cpu": _TEMPLATE,
    "devices": ("is for kind: lxc", _CARD[1]),
    "dns": ("is its node's choice", "write name-servers below the host of kind proxmox"),
    "gateway": ("follows from its flows", _OUT),
    "hostname": ("is the service's own name here", "name the entry as you want it"),
    "hostpci": _CARD,
    "machine": _TEMPLATE,
    "nameserver": ("is its node's choice", "write name-servers below the host of kind proxmox"),
    "networks": _ZONE,
    "onboot": ("is the same for every guest", _OUT),
    "privileged": (
        "would make its root the node's",
        "write kind: lxc and unprivileged: false, with an exception",
    ),
    "swap": ("is the same for every guest", _OUT),
    "template": (
        "is the node's, for its virtual machines",
        "write it below the host of kind proxmox; kind: lxc has ostemplate",
    ),
    "usb": _CARD,
    "vlan": _ZONE,
    "volumes": ("is for containers and kind: lxc", "raise disk, or write kind: lxc"),
}
"""Keys that a guest does not take; for a system container, those that it has are not asked for here."""
