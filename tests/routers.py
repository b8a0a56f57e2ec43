"""Sites with a router: the sound site behind one, and small ones drawn at random."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from random import Random
from typing import Any

from tests.site import configuration
from topology.config import ConfigError, load

DOCKER, NODE, WAN = "10.10.1.4", "10.10.1.5", "192.168.1.2"


def routed(system: str = "linux") -> dict[str, Any]:
    """Return the keys of the sound site behind a router, with flows that cross it in every direction."""
    config = configuration()
    config["hosts"]["docker-srv"]["address"] = DOCKER
    config["hosts"]["router"] = {
        "kind": "router",
        "system": system,
        "legs": {
            "management": "eth1",
            "wordpress": "eth1.10",
            "apps": {"interface": "eth1.20", "address": "10.10.20.254"},
            "vault": "eth1.30",
        },
        "wan": {"interface": "eth0", "address": WAN, "public": [8333]},
        "ports": [22, "53/udp"],
    }
    config["zones"]["household"] = {"role": "external", "prefix": "192.168.1.0/24", "ports": [631]}
    config["services"]["jellyfin"]["ports"] = [8096, 22, 8333]
    config["services"]["site-1"]["ports"] = [443]
    config["flows"] += [
        "management -> router:22/tcp",
        "site-1 -> router:53/udp",
        "site-1 -> internet:443/tcp",
        "site-2 -> household:631/tcp",
        "jellyfin -> site-1:443/tcp",
        "management -> jellyfin:22/tcp",
        "household -> jellyfin:8096/tcp",
        "internet -> jellyfin:8333/tcp",
    ]
    return config


def attached(system: str = "linux") -> dict[str, Any]:
    """Return the keys of that site with Docker-SRV on an access port: the router leads to every guest."""
    config = routed(system)
    del config["hosts"]["docker-srv"]["trunk"]
    for zone in config["zones"].values():
        zone.pop("ingress", None)
    return config


def beside_management(system: str = "linux") -> dict[str, Any]:
    """Return the keys of that site with a name server on management's own VLAN, which every guest asks."""
    config = attached(system)
    config["zones"]["names"] = {"role": "tenant", "vlan": 1, "prefix": "10.10.1.0/24"}
    config["services"]["name-server"] = {
        "zone": "names",
        "vmid": 901,
        "address": "10.10.1.53",
        "ports": ["53/udp"],
    }
    legs = config["hosts"]["router"]["legs"]
    legs["names"] = legs.pop("management")
    guests = [name for name, each in config["services"].items() if "vmid" in each]
    config["flows"] += [f"{name} -> name-server:53/udp" for name in guests if name != "name-server"]
    config["flows"] += ["management -> name-server:53/udp", "household -> name-server:53/udp"]
    return config


def behind_a_lan(system: str = "linux") -> dict[str, Any]:
    """Return the keys of that site with the router's WAN on a LAN without VLANs, where a guest is as well."""
    config = attached(system)
    config["zones"]["lan"] = {"role": "tenant", "prefix": "10.10.1.0/24", "bridge": "vmbr0"}
    config["services"]["watch"] = {"zone": "lan", "vmid": 901, "address": "10.10.1.53", "ports": [443]}
    router = config["hosts"]["router"]
    del router["legs"]["management"]
    router["wan"] = {"interface": "eth0", "address": "10.10.1.2", "zone": "lan", "public": [8333]}
    config["flows"] += [
        "watch -> jellyfin:22/tcp",
        "watch -> router:53/udp",
        "watch -> internet:443/tcp",
        "management -> watch:443/tcp",
    ]
    return config


def over_ssh() -> dict[str, Any]:
    """Return the keys of that site with a router whose rules the stack installs."""
    config = attached()
    config["hosts"]["router"]["ssh"] = {"address": "10.10.1.1", "host-key": f"ssh-ed25519 {'A' * 68}"}
    return config


def as_a_guest() -> dict[str, Any]:
    """Return the keys of that site with a router that is a guest, with a card for each network."""
    config = attached()
    config["hosts"]["proxmox-srv"] |= {"snippets": "local", "authorized-keys": ["ssh-ed25519 AAAA you"]}
    router = config["hosts"]["router"]
    router["legs"] = {
        "management": {"interface": "eth1", "bridge": "vmbr0"},
        "wordpress": "eth2",
        "apps": {"interface": "eth3", "address": "10.10.20.254"},
        "vault": "eth4",
    }
    router["wan"] |= {"bridge": "vmbr2", "gateway": "192.168.1.1/24"}
    router["guest"] = {"vmid": 900}
    return config


def made_as_a_guest(config: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a drawn site with its router as a guest of the node."""
    router, zones = config["hosts"]["router"], config["zones"]
    config["hosts"]["node"] |= {"snippets": "local", "authorized-keys": ["ssh-ed25519 AAAA you"]}
    router |= {"guest": {"vmid": 990}, "system": "linux"}
    for number, (name, leg) in enumerate([*router["legs"].items()], start=1 if "wan" in router else 0):
        own = leg if isinstance(leg, dict) else {}
        given = {} if zones[name]["role"] in {"tenant", "isolated"} else {"bridge": f"vmbr2{number}"}
        router["legs"][name] = own | {"interface": f"eth{number}"} | given
    if wan := router.get("wan"):
        wan["interface"] = "eth0"
        if "zone" not in wan:
            wan["bridge"] = "vmbr2"
            if address := wan.get("address"):
                wan["gateway"] = f"{address.rpartition('.')[0]}.1/24"
    return config


STATE = "$HOMELAB_STATE/tls/"
PORTS = ("443/tcp", "22/tcp", "53/udp")
_ROLES = ("tenant", "tenant", "tenant", "isolated")


class Draw:
    """Draws a small site with a router; every choice follows from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"site {seed}")  # noqa: S311  # reproducible, not secret
        self.config: dict[str, Any] = {
            "domain": "homelab.example",
            "hosts": {},
            "zones": {"management": {"role": "management", "prefix": "10.1.0.0/24"}},
            "services": {},
            "flows": ["management -> node:8006/tcp", "management -> node:22/tcp"],
        }

    def keys(self) -> dict[str, Any]:
        """Return the keys of a sound site."""
        self._hosts()
        self._zones()
        self._router()
        public = self._public()
        ends = ["internet", *self.config["zones"], *self.config["services"]]
        targets = [*self._targets()]
        wanted = {f"{self.random.choice(ends)} -> {self.random.choice(targets)}" for _ in range(150)}
        wanted |= {"internet -> traefik:443/tcp", "household -> traefik:443/tcp"}
        # On a LAN without a tag the ingress would need an interface of its own.
        wanted = {each for each in wanted if not each.startswith("traefik -> guest-lan:")}
        flows = self.random.sample(sorted(wanted), self.random.randint(5, min(60, len(wanted))))
        self.config["flows"] += [*public, *(flow for flow in flows if flow not in public)]
        return self._without_faults()

    def _often(self, chance: float = 0.5) -> bool:
        return self.random.random() < chance

    def _hosts(self) -> None:
        hosts = self.config["hosts"]
        hosts["node"] = {"kind": "proxmox", "node": "pve", "address": "10.1.0.5"}
        if self._often(0.7):
            address = self.random.choice(("10.1.0.4", "10.1.0.4", "192.168.1.4", "198.18.77.4"))
            hosts["docker"] = {"kind": "docker", "address": address}
            self.config["zones"]["edge"] = {"role": "edge", "prefix": "172.30.0.0/24"}
            self.config["tls"] = {"certificate": f"{STATE}ingress.crt", "key": f"{STATE}ingress.key"}
            self.config["services"]["traefik"] = {
                "app": "traefik",
                "zones": ["edge"],
                "image": "traefik:v3.7.18",
                "ports": [443],
            }

    def _zones(self) -> None:
        zones, services = self.config["zones"], self.config["services"]
        for number in range(1, self.random.randint(2, 4)):
            role = self.random.choice(_ROLES)
            zones[f"vlan{number}"] = {"role": role, "vlan": 10 * number, "prefix": f"10.{10 * number}.0.0/24"}
            for index in range(1 if role == "isolated" else self.random.randint(1, 2)):
                services[f"guest-{number}-{index}"] = {
                    "zone": f"vlan{number}",
                    "vmid": 100 * number + index,
                    "address": f"10.{10 * number}.0.{11 + index}",
                    "ports": self.random.sample(PORTS, self.random.randint(1, 3)),
                }
        if self._often(0.3):
            # On management's own network, where the router's leg is then this zone's.
            zones["names"] = {"role": "tenant", "vlan": 1, "prefix": "10.1.0.0/24"}
            services["guest-names"] = {
                "zone": "names",
                "vmid": 900,
                "address": "10.1.0.53",
                "ports": self.random.sample(PORTS, self.random.randint(1, 3)),
            }
        elif self._often(0.2):
            # A LAN with guests, on which the router's WAN is.
            zones["lan"] = {"role": "tenant", "prefix": "10.1.0.0/24", "bridge": "vmbr0"}
            services["guest-lan"] = {
                "zone": "lan",
                "vmid": 900,
                "address": "10.1.0.53",
                "ports": self.random.sample(PORTS, self.random.randint(1, 3)),
            }
        zones["household"] = {"role": "external", "prefix": "192.168.1.0/24", "ports": ["443/tcp"]}
        if "docker" in self.config["hosts"] and self.config["hosts"]["docker"]["address"].startswith("192."):
            # What may reach a network may reach the Docker host in it, and so what it publishes.
            del zones["household"]["ports"]
        if self._often():
            zones["office"] = {"role": "external", "prefix": "10.77.0.0/16", "ports": ["22/tcp"]}
        if self._often(0.3):
            zones["nas"] = {"role": "external", "prefix": "10.10.0.64/28", "ports": ["53/udp"]}

    def _router(self) -> None:
        shared = {"names", "lan"} & {*self.config["zones"]}
        apart = {"edge", "nas", "lan", *(("management",) if shared else ())}
        zones = [name for name in self.config["zones"] if name not in apart]
        legs: dict[str, Any] = {}
        for index, name in enumerate(
            each for each in zones if each.startswith("vlan") or each == "names" or self._often(0.7)
        ):
            legs[name] = f"leg{index}"
            if self._often(0.3):
                *start, _ = self.config["zones"][name]["prefix"].partition("/")[0].split(".")
                legs[name] = {"interface": f"leg{index}", "address": ".".join((*start, "254"))}
        wan: dict[str, Any] = {"interface": "wan"}
        if self._often(0.7) or self._is_beyond(legs):
            wan["address"] = "192.168.1.2" if "household" not in legs else "198.18.0.2"
        if self._often(0.3):
            wan["masquerade"] = False
        if "lan" in shared:
            wan |= {"address": "10.1.0.2", "zone": "lan"}
        self.config["hosts"]["router"] = {
            "kind": "router",
            "system": self.random.choice(("linux", "vyos")),
            "legs": legs,
            "ports": ["22/tcp", "53/udp"],
            **({"wan": wan} if self._often(0.9) or len(legs) < 2 or "lan" in shared else {}),  # joins two
        }

    def _public(self) -> list[str]:
        """Let the internet reach some guests by the router's address; return these flows."""
        wan = self.config["hosts"]["router"].get("wan")
        open_zones = {name for name, zone in self.config["zones"].items() if zone["role"] == "tenant"} - {
            "names",
            "lan",
        }
        taken = {"443/tcp"} if "docker" in self.config["hosts"] else set()
        found: dict[str, str] = {}
        for name, guest in self.config["services"].items():
            for port in guest["ports"] if wan and guest.get("zone") in open_zones else ():
                if port not in taken and self._often(0.3):
                    found.setdefault(port, name)
        if found:
            wan["public"] = list(found)
        return [f"internet -> {name}:{port}" for port, name in found.items()]

    def _is_beyond(self, legs: Collection[str]) -> bool:
        """Whether the Docker host is in a zone beyond the WAN, where the router needs a known address."""
        address = self.config["hosts"].get("docker", {}).get("address", "")
        near = {"10.1.0.4": {"management", "names"}, "192.168.1.4": {"household"}}.get(address, {*legs})
        return not near & {*legs}

    def _targets(self) -> Iterator[str]:
        zones = self.config["zones"].items()
        for name, end in (*self.config["services"].items(), *zones, *self.config["hosts"].items()):
            yield from (f"{name}:{port}" for port in end.get("ports", ()))
        yield from (f"internet:{port}" for port in PORTS)

    def _without_faults(self) -> dict[str, Any]:
        """Return the keys without the flows that the loader refuses."""
        while True:
            flows, guests = self.config["flows"], {*self.config["services"]} - {"traefik"}
            routes = [flow for flow in flows if re.fullmatch(r"traefik -> (\S+):\d+/tcp", flow)]
            plain = [flow for flow in routes if flow.split()[2].partition(":")[0] in guests]
            self.config["unencrypted"] = [{"flow": flow, "reason": "it speaks no TLS"} for flow in plain]
            try:
                load(self.config)
            except ConfigError as error:
                wrong = {int(number) for number in re.findall(r"^flows\[(\d+)\]", str(error), re.MULTILINE)}
                if not wrong:
                    raise
                self.config["flows"] = [flow for index, flow in enumerate(flows) if index not in wrong]
            else:
                return self.config


def drawn(seed: int) -> dict[str, Any]:
    """Return the keys of a small site with a router."""
    return Draw(seed).keys()
