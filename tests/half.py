"""Half sites: the sound site with one host, and all that concerns that host alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.site import configuration


def docker_alone() -> dict[str, Any]:
    """Return the keys of the sound site without Proxmox-SRV, its VLANs and guests, and management."""
    return _half("docker-srv", lambda zone: "vlan" not in zone and zone["role"] != "management")


def proxmox_alone() -> dict[str, Any]:
    """Return the keys of the sound site without Docker-SRV; the guests have flows of their own.

    Management reaches every guest's SSH, one guest its neighbour, and one the internet.
    """
    config = _half("proxmox-srv", lambda zone: "vlan" in zone or zone["role"] == "management")
    del config["tls"], config["unencrypted"]
    config["hosts"]["proxmox-srv"]["authorized-keys"] = ["ssh-ed25519 AAAA you"]
    for zone in config["zones"].values():
        zone.pop("ingress", None)
    for name, guest in config["services"].items():
        guest.pop("ca-file", None)
        guest["ports"] = [*guest["ports"], 22]
        config["flows"].append(f"management -> {name}:22/tcp")
    config["flows"] += [
        "site-1 -> site-2:443/tcp",
        "management -> jellyfin:8096/tcp",
        "site-1 -> internet:443/tcp",
        "site-1 -> internet:53/udp",
    ]
    return config


def _half(host: str, keeps: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the sound site with one host, the zones that `keeps` accepts, and all that is in these."""
    config = configuration()
    config["hosts"] = {host: config["hosts"][host]}
    config["zones"] = {name: zone for name, zone in config["zones"].items() if keeps(zone)}
    zones = {*config["zones"]}
    config["services"] = {
        name: service
        for name, service in config["services"].items()
        if {*service.get("zones", [service.get("zone")])} <= zones
    }
    ends = {"internet", host, *config["services"], *zones}

    def is_there(flow: str) -> bool:
        source, _, destination = flow.partition(" -> ")
        return {source, destination.partition(":")[0]} <= ends

    config["flows"] = [flow for flow in config["flows"] if is_there(flow)]
    config["unencrypted"] = [plain for plain in config["unencrypted"] if is_there(plain["flow"])]
    return config


def flat(*, docker: bool = True) -> dict[str, Any]:
    """Return the keys of the sound site with its two WordPress sites on a LAN without VLANs.

    Without `docker` the site is Proxmox-SRV alone, and management is all of the LAN.
    """
    config = configuration() if docker else proxmox_alone()
    for name in ("jellyfin", "stirling-pdf", "vaultwarden"):
        del config["services"][name]
    for name in ("apps", "vault"):
        del config["zones"][name]
    gone = ("jellyfin", "stirling-pdf", "vaultwarden")
    config["flows"] = [flow for flow in config["flows"] if not any(name in flow for name in gone)]
    if docker:
        config["unencrypted"] = [plain for plain in config["unencrypted"] if plain["flow"] in config["flows"]]
    lan = config["zones"].pop("wordpress")
    del lan["vlan"]
    config["zones"]["lan"] = lan
    for name in ("site-1", "site-2"):
        config["services"][name]["zone"] = "lan"
    node = "10.10.10.5" if not docker else "10.10.10.250"
    config["zones"]["management"]["prefix"] = "10.10.10.0/24" if not docker else "10.10.10.248/29"
    config["hosts"]["proxmox-srv"] |= {"address": node, "bridge": "vmbr0", "existing-bridge": True}
    return config
