"""Recognises the router's machine: exactly what the stack file makes of it, else a machine like any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rendered import router_guest
from resources.proxmox_guests import RouterMachine, VirtualMachine
from resources.typed import TypedResource
from topology.model import Topology


def recognised(view: TypedResource[Any], topology: Topology) -> TypedResource[Any]:
    """Return the view with the inputs as a `RouterMachine`, if it is the declared router to the last setting.

    It filters what it forwards, and no firewall of Proxmox's does. Any other machine remains a guest.
    """
    if type(view.inputs) is not VirtualMachine or view.faults or not is_meant(view.inputs, topology):
        return view
    if settings(view) != wanted(topology):
        return view
    return replace(view, inputs=RouterMachine.model_construct(**dict(view.inputs)))


def is_meant(inputs: VirtualMachine, topology: Topology) -> bool:
    """Whether a machine has the name or the id of a router that is a guest."""
    router = topology.router
    if router is None or router.guest is None:
        return False
    return inputs.vm_id == router.guest.vmid or inputs.name == topology.physical(router.name)


def wanted(topology: Topology) -> Mapping[str, Any]:
    """Return the settings that the stack file makes of the router's machine; it must be a guest."""
    router, guest, host = router_guest.parts(topology)
    origin, cards = topology.template_node(host), router_guest.cards(topology)
    given: dict[str, Any] = {
        "nodeName": host.node,
        "vmId": guest.vmid,
        "name": topology.physical(router.name),
        "clone": {
            "vmId": host.template,
            "nodeName": None if origin == host else origin.node,
            "datastoreId": host.storage,
        },
        "disks": [{"datastoreId": host.storage, "interface": "scsi0"}],
        "networkDevices": [
            {
                "bridge": card.bridge,
                "vlanId": card.vlan,
                "firewall": card.firewall,
                "macAddress": card.mac,
            }
            for card in cards
        ],
        "initialization": {
            "datastoreId": host.storage,
            "interface": "ide2",
            "userDataFileId": topology.router_user_data,
            "dns": {"servers": [*map(str, host.name_servers)]},
            "ipConfigs": [{"ipv4": {"address": card.address, "gateway": card.gateway}} for card in cards],
        },
    }
    return _plain(VirtualMachine.model_validate(given), given)


def settings(view: TypedResource[VirtualMachine]) -> Mapping[str, Any]:
    """Return the settings of a machine that count, as plain values."""
    return _plain(view.inputs, view.resource.inputs)


def _plain(inputs: VirtualMachine, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return inputs as plain values: VLAN 0 is no tag, MAC addresses in upper case, addresses with prefix."""
    found = inputs.model_dump(mode="json", by_alias=True)
    for card in found["networkDevices"]:
        card |= {"vlanId": card["vlanId"] or None, "macAddress": card["macAddress"].upper()}
    configs = found["initialization"]["ipConfigs"]
    for config, written in zip(configs, given["initialization"]["ipConfigs"] if configs else (), strict=True):
        config["ipv4"]["address"] = (written.get("ipv4") or {}).get("address")
    return found
