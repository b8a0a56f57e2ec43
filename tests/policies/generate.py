"""Sound sites of many shapes, as stack-file keys; `python -m tests.policies.generate number` prints one."""

from __future__ import annotations

import copy
import json
import random
import sys
from typing import Any

import yaml

from tests.policies.sound import with_acme
from tests.site import configuration

SEED = 20261123
VAULTWARDEN = {"app": "vaultwarden"}
SETTINGS: dict[str, dict[str, Any]] = {
    "grafana": {
        "environment": {"GF_USERS_DEFAULT_THEME": "light", "GF_LOG_LEVEL": "warn"},
        "files": {"/etc/grafana/provisioning/alerting/mail.yaml": "apiVersion: 1\n"},
    },
    "prometheus": {
        "arguments": ["--log.level=warn", "--enable-feature=exemplar-storage"],
        "files": {
            "/etc/prometheus/rules/own.yml": "groups: [{name: own, rules: [{alert: Down, expr: up == 0, "
            "annotations: {runbook_url: 'https://wiki.example/down'}}]}]\n"
        },
    },
    "traefik": {
        "environment": {"TZ": "Europe/Berlin"},
        "files": {
            "/etc/traefik/dynamic/own.yml": "http: {middlewares: {own: {headers: {frameDeny: true}}}}\n"
        },
    },
    "cadvisor": {"files": {"/etc/cadvisor/note.txt": "Übersicht: 5\n\n"}},
}
"""What apps are given besides their own."""
WORDS: tuple[dict[str, Any], ...] = (
    {"environment": ["LOG_LEVEL=info", "PRICE=5$$"]},
    {"environment": {"PORT": 7000, "APP_PASSWORD": {"secret": "{name}:password"}}},
    {"secrets": {"/run/secrets/token": "{name}:token"}, "files": {"/etc/app.conf": "a: 1\n"}},
    {"volumes": ["data-{name}:/var/lib/app", "/srv/{name}:/srv/media:ro"]},
    {"volumes": [{"type": "volume", "source": "old_{name}", "target": "/old", "read_only": True}]},
    {"command": "serve --title 'an app'", "working_dir": "/srv"},
    {"entrypoint": ["/bin/app"], "init": True, "stop_signal": "SIGINT", "stop_grace_period": "1m"},
    {"healthcheck": {"test": "wget -q -O /dev/null http://127.0.0.1/", "interval": "90s", "retries": 2}},
    {"healthcheck": {"disable": True}, "user": "1000:1000"},
    {"tmpfs": "/run/app", "shm_size": "64mb", "ulimits": {"nofile": {"soft": 1024, "hard": 4096}}},
    {"sysctls": {"net.ipv4.tcp_keepalive_time": "60"}, "extra_hosts": {"mail.lan": "192.168.20.25"}},
    {"labels": ["org.example.team=home"], "cap_add": ["chown", "CAP_SETUID"], "cpus": "0.25"},
)
"""What containers without an app are given, in the Compose specification's words; `{name}` is its name."""
TEMPLATES = (
    "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
    "tank:vztmpl/alpine-3.20-default_20240908_amd64.tar.xz",
)
ADMIN_PAGE = {"admin-page": {"until": "2099-01-01", "reason": "to try it out"}}


def topology(number: int) -> dict[str, Any]:
    """Return the keys of one sound site: its zones, guests, containers and flows are not dev's."""
    draw = random.Random(SEED * 1000 + number)  # noqa: S311  # a shape, not a secret
    config = configuration()
    services, flows = config["services"], config["flows"]
    config["name-prefix"] = draw.choice(["", "", "lab-", "x-"])
    _without_guests(config)
    _vlans(draw, config)
    _scrapes(random.Random(f"scrapes {number}"), config)  # noqa: S311  # a shape, not a secret
    for index in range(draw.randint(0, 4)):
        services[f"app-{index}"] = {
            "zones": ["frontend"],
            "image": f"app:{index + 1}",
            "ports": [7000 + index],
            **_words(draw, f"app-{index}"),
        }
        flows.append(f"traefik -> app-{index}:{7000 + index}/tcp")
    _wait(draw, config)
    for index in range(draw.randint(0, 3)):
        services[f"exporter-{index}"] = {"zones": ["backend"], "image": "exporter:1", "ports": [9200 + index]}
        flows.append(f"prometheus -> exporter-{index}:{9200 + index}/tcp")
        config["unencrypted"].append({"flow": flows[-1], "reason": "has no TLS of its own"})
    if draw.random() < 0.5:
        services["promtail"] |= {"app": "alloy", "image": "grafana/alloy:v1.18.1"}
    if draw.random() < 0.3:  # a share of the sites
        config["zones"]["office"] = {"role": "management", "prefix": "10.10.2.0/24"}
        # Proxmox admits its local network to both ports.
        flows += ["office -> proxmox-srv:8006/tcp", "office -> proxmox-srv:22/tcp"]
    if draw.random() < 0.5:
        config["assertions"] = [
            {"src": "internet", "accept": ["traefik:443/tcp"], "deny": ["loki:3100/tcp", "cadvisor:8080/tcp"]}
        ]
    if draw.random() < 0.3:
        config["hosts"]["docker-srv"]["trusted-proxies"] = ["10.10.1.5/32", "172.64.0.0/13"]
    if draw.random() < 0.3:
        config["certificates"] = {"authorities": ["old", "new"], "signer": "new", "days": 7, "renew": 2}
    for name in draw.sample(list(SETTINGS), max(1, draw.randint(0, len(SETTINGS)))):
        services[name] |= copy.deepcopy(SETTINGS[name])
    config["protect"] = draw.random() < 0.5
    if draw.random() < 0.2:
        config = with_acme(config)
    _ways_out(draw, config)
    draw.shuffle(config["flows"])
    config["services"] = dict(draw.sample(list(services.items()), len(services)))
    return config


def _words(draw: random.Random, name: str) -> dict[str, Any]:
    """Return a share of the words; the later one of two counts for a key that both have."""
    found: dict[str, Any] = {}
    for words in draw.sample(WORDS, draw.randint(0, len(WORDS) // 2)):
        found |= json.loads(json.dumps(words).replace("{name}", name))
    return found


def _wait(draw: random.Random, config: dict[str, Any]) -> None:
    """Have some containers wait for earlier ones, and make their old volumes external."""
    names = [name for name in config["services"] if name.startswith("app-")]
    for place, name in enumerate(names):
        service = config["services"][name]
        if place and draw.random() < 0.5:
            service["depends_on"] = draw.sample(names[:place], 1)
        if any("old_" in str(volume) for volume in service.get("volumes", ())):
            external = {"external": True, "name": f"x_{name}"} if draw.random() < 0.5 else {"external": True}
            config.setdefault("volumes", {})[f"old_{name}"] = external


_LEAVES = ("app-", "exporter-", "grafana", "loki", "cadvisor")
"""Beginnings of the names of containers that may go out."""
_GUESTS = ("site-1", "site-2", "jellyfin", "stirling-pdf", "vaultwarden")


def _without_guests(config: dict[str, Any]) -> None:
    services, flows = config["services"], config["flows"]
    for name in [name for name, service in services.items() if "vmid" in service]:
        del services[name]
    config["zones"] = {name: zone for name, zone in config["zones"].items() if "vlan" not in zone}
    flows[:] = [flow for flow in flows if not any(flow.startswith(f"traefik -> {n}:") for n in _GUESTS)]
    config["unencrypted"] = [plain for plain in config["unencrypted"] if plain["flow"] in flows]


def _vlans(draw: random.Random, config: dict[str, Any]) -> None:
    tags = draw.sample(range(2, 4000), draw.randint(1, 6))
    for place, tag in enumerate(tags):
        isolated = draw.random() < 0.3
        zone = f"zone-{tag}"
        config["zones"][zone] = {
            "role": "isolated" if isolated else "tenant",
            "vlan": tag,
            "prefix": f"10.{20 + place}.0.0/24",
            "ingress": f"10.{20 + place}.0.2",
        }
        guests: list[str] = []
        for index in range(1 if isolated else draw.randint(1, 4)):
            name, port = f"guest-{tag}-{index}", draw.choice([80, 443, 3000, 8080, 8096])
            config["services"][name] = {
                "zone": zone,
                "vmid": 1000 + place * 50 + index,
                "address": f"10.{20 + place}.0.{11 + index}",
                "ports": [port],
            }
            if draw.random() < 0.4:
                config["services"][name] |= _container(draw)
            if draw.random() < 0.2:
                config["services"][name] |= draw.choice([VAULTWARDEN, VAULTWARDEN | ADMIN_PAGE])
            config["flows"].append(f"traefik -> {name}:{port}/tcp")
            if draw.random() < 0.5:
                config["services"][name]["ca-file"] = "$HOMELAB_STATE/tls/ca.crt"
            else:
                config["unencrypted"].append({"flow": config["flows"][-1], "reason": "has no TLS of its own"})
            if guests and draw.random() < 0.3:
                config["flows"].append(f"{draw.choice(guests)} -> {name}:{port}/tcp")
            guests.append(name)


def _scrapes(draw: random.Random, config: dict[str, Any]) -> None:
    """On some sites let Prometheus scrape guests, from a leg on each VLAN that is not isolated."""
    legs = config["services"]["prometheus"].setdefault("addresses", {})
    share = draw.choice([0, 0, 0.3, 1])
    for name, guest in config["services"].items():
        zone = config["zones"].get(guest.get("zone"))
        if zone is None or zone["role"] == "isolated" or draw.random() >= share:
            continue
        guest["ports"] = [*guest["ports"], 9100]
        legs[guest["zone"]] = zone["ingress"].rpartition(".")[0] + ".3"
        config["flows"].append(f"prometheus -> {name}:9100/tcp")
        config["unencrypted"].append({"flow": config["flows"][-1], "reason": "the exporter has no TLS"})


def _ways_out(draw: random.Random, config: dict[str, Any]) -> None:
    """On some sites let containers out, each by an egress zone, on its own ports, some for a while."""
    if draw.random() < 0.6:
        return
    zones = {f"out-{index}": f"172.30.{20 + index}.0/24" for index in range(draw.randint(1, 2))}
    config["hosts"]["docker-srv"]["name-servers"] = draw.choice([["9.9.9.9"], ["1.1.1.1", "9.9.9.9"]])
    known = [name for name in config["services"] if name.startswith(_LEAVES) and name != "loki-gateway"]
    leaving = draw.sample(known, draw.randint(1, len(known)))
    for index in range(draw.randint(0, 2)):
        leaving.append(f"crawler-{index}")
        config["services"][leaving[-1]] = {"zones": [], "image": "crawler:1"}
    for place, name in enumerate(leaving):
        zone = [*zones][place % len(zones)]
        config["zones"][zone] = {"role": "egress", "prefix": zones[zone]}
        config["services"][name]["zones"] = [*config["services"][name]["zones"], zone]
        config["flows"].append(f"{name} -> internet:53/{draw.choice(['udp', 'tcp'])}")
        for port in draw.sample(["80/tcp", "443/tcp", "22/tcp", "123/udp", "443/udp", "8883/tcp"], 2):
            flow: object = f"{name} -> internet:{port}"
            if draw.random() < 0.3:
                flow = {"flow": flow, "until": "2099-01-01", "reason": "to try it out"}
            config["flows"].append(flow)


def _container(draw: random.Random) -> dict[str, Any]:
    """Return the keys that make a guest a system container which shares nothing but the kernel."""
    made: dict[str, Any] = {"kind": "lxc", "ostemplate": draw.choice(TEMPLATES)}
    if draw.random() < 0.5:
        made["features"] = ["nesting"]
    paths = draw.sample(["/data", "/var/lib/app", "/srv/a"], draw.randint(0, 3))
    made["volumes"] = [{"path": path, "size": draw.randint(1, 50)} for path in paths]
    return made


if __name__ == "__main__":
    print(yaml.safe_dump(topology(int(sys.argv[1])), sort_keys=False))
