"""Mistakes in a stack file, and the one line that each is told in.

`.venv/bin/python -m tests.mistakes` writes the lines to `tests/unit/mistakes.txt`; `git diff` then shows each
changed one.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from commands.__main__ import main as command
from tests.site import FILE
from topology.project import PROJECT

LINES: Final = PROJECT / "tests" / "unit" / "mistakes.txt"

TEXT = FILE.read_text(encoding="utf-8")
LOKI = "      image: homelab-lab/loki:3.6.3\n"
GRAFANA = "      ports: [3000]\n"
JELLYFIN = "    jellyfin: {zone: apps, vmid: 201, address: 10.10.20.11, ports: [8096]}\n"
FLOW = "    - traefik -> grafana:3000/tcp\n"
DOMAIN = "  homelab-network:domain: homelab.localhost\n"
PLAIN = "    - {flow: traefik -> jellyfin:8096/tcp, reason: the lab's stand-in speaks no TLS}\n"
MISTAKES: Final[dict[str, tuple[str, str]]] = {
    # ------------------------------------------------------------------------------------------ YAML
    "a list not closed": (GRAFANA, "      ports: [3000\n"),
    "a mapping not closed": (JELLYFIN, JELLYFIN.replace("}", "")),
    "a tab": (GRAFANA, "\tports: [3000]\n"),
    "no colon": (DOMAIN, DOMAIN.replace("domain:", "domain")),
    "a colon too many": (LOKI, LOKI.replace("image:", "image: it:")),
    "too little indented": (LOKI, LOKI.replace("      image", "   image")),
    "too much indented": (LOKI, LOKI.replace("      image", "        image")),
    "a quote not closed": (DOMAIN, DOMAIN.replace("homelab.localhost", '"homelab.localhost')),
    "a key twice": (LOKI, LOKI + LOKI),
    "a key that is true": (JELLYFIN, f"    yes: {{}}\n{JELLYFIN}"),
    "a star": (DOMAIN, DOMAIN.replace("homelab.localhost", "*.homelab")),
    "no bytes": (TEXT, ""),
    "half written": (TEXT, "config:\n"),
    "a second document": ("config:\n", "---\na: 1\n---\nconfig:\n"),
    "a control character": (DOMAIN, DOMAIN.replace("homelab.", "home\x00.")),
    "an object of a program": (JELLYFIN, JELLYFIN.replace("201", "!!binary aGVsbG8=")),
    "an anchor that is nowhere": (JELLYFIN, "    jellyfin: {<<: *base, vmid: 201}\n"),
    "marks of a merge": (FLOW, f"<<<<<<< HEAD\n{FLOW}=======\n>>>>>>> more\n"),
    "no config": ("config:\n", "confg:\n"),
    # ----------------------------------------------------------------------------------------- depth
    "a key beside config": ("config:\n", f"{DOMAIN.strip()}\nconfig:\n"),
    "no namespace": ("  homelab-network:flows:\n", "  flows:\n"),
    "another namespace": (DOMAIN, DOMAIN.replace("homelab-network:", "homelab:")),
    "a namespace in capitals": (DOMAIN, DOMAIN.replace("homelab-network:", "Homelab_Network:")),
    "a namespace alone": (DOMAIN, "  homelab-network:\n    domain: homelab.localhost\n"),
    "memory beside services": (DOMAIN, f"{DOMAIN}  homelab-network:memory: 512\n"),
    "image at a service's depth": (LOKI, "    image: homelab-lab/loki:3.6.3\n"),
    "ports within a zone": (
        "    apps: {role: tenant,",
        "    apps: {ports: [80], role: tenant,",
    ),
    "flows within a service": (GRAFANA, f"{GRAFANA}      flows: []\n"),
    # -------------------------------------------------------------------------------- keys and values
    "a key in another spelling": (DOMAIN, DOMAIN.replace("domain:", "domian:")),
    "a former key": (JELLYFIN, JELLYFIN.replace("vmid", "vm")),
    "an unknown key": (GRAFANA, f"{GRAFANA}      colour: red\n"),
    "a port too large": (GRAFANA, GRAFANA.replace("3000", "70000")),
    "a port in words": (GRAFANA, GRAFANA.replace("3000", "http")),
    "an address too short": (JELLYFIN, JELLYFIN.replace("10.10.20.11", "10.10.20")),
    "a number in quotes": (JELLYFIN, JELLYFIN.replace("201", '"201"')),
    "host bits in a prefix": ("prefix: 10.10.20.0/24", "prefix: 10.10.20.1/24"),
    "a role that is none": ("apps: {role: tenant", "apps: {role: tennant"),
    "an app that is none": ("      app: grafana\n", "      app: grafanna\n"),
    "no image": (LOKI, ""),
    "an image without a version": (LOKI, "      image: grafana/loki\n"),
    "an image that moves": (LOKI, LOKI.replace("3.6.3", "latest")),
    "an image to build": (LOKI, f"{LOKI}      build: .\n"),
    "a network of its own": (LOKI, f"{LOKI}      networks: [backend]\n"),
    "the host's network": (LOKI, f"{LOKI}      network_mode: host\n"),
    "the engine's socket": (LOKI, f"{LOKI}      volumes: [/var/run/docker.sock:/var/run/docker.sock]\n"),
    "a variable without a value": (LOKI, f"{LOKI}      environment: [LEVEL]\n"),
    "a variable that is true": (LOKI, f"{LOKI}      environment: {{A: yes}}\n"),
    "a port alone": (GRAFANA, GRAFANA.replace("[3000]", "3000")),
    "a published port": (GRAFANA, GRAFANA.replace("3000", '"3000:3000"')),
    "a port twice": (GRAFANA, GRAFANA.replace("3000", "3000, 3000")),
    "a URL for a host": (GRAFANA, f"{GRAFANA}      host: https://grafana\n"),
    "a VLAN too large": ("vlan: 20,", "vlan: 5000,"),
    "a VLAN twice": ("vlan: 20,", "vlan: 10,"),
    "a prefix too long": ("prefix: 10.10.20.0/24", "prefix: 10.10.20.0"),
    "an address with its prefix": (JELLYFIN, JELLYFIN.replace("20.11", "20.11/24")),
    "an address of the network": ("ingress: 10.10.20.2", "ingress: 10.10.20.0"),
    "a template's VM id": (JELLYFIN, JELLYFIN.replace("201", "9000")),
    "no VM id": (JELLYFIN, JELLYFIN.replace("vmid: 201, ", "")),
    "a guest with an image": (JELLYFIN, JELLYFIN.replace("zone: apps", "image: x/y:1, zone: apps")),
    "a kind of guest that is none": (JELLYFIN, JELLYFIN.replace("zone: apps", "kind: qemu, zone: apps")),
    "a service without keys": (JELLYFIN, "    jellyfin:\n"),
    "a service in a word": (JELLYFIN, "    jellyfin: apps\n"),
    "a name that is a number": (JELLYFIN, JELLYFIN.replace("jellyfin:", "123:")),
    "an empty domain": (DOMAIN, "  homelab-network:domain:\n"),
    "a truth value in a word": ("protect: false", "protect: maybe"),
    "a kind of host that is none": ("kind: proxmox, ", "kind: esxi, "),
    "a time without a unit": ("probe-every: 5s", "probe-every: 5"),
    "a folder of no place": ("data-root: /var/lib/homelab-network/docker", "data-root: docker"),
    "a flow without TLS alone": (PLAIN, "    - traefik -> jellyfin:8096/tcp\n"),
    "no reason": (PLAIN, "    - {flow: traefik -> jellyfin:8096/tcp}\n"),
    "a secret in the namespace": (DOMAIN, "  homelab-network:domain: {secure: v1:x}\n"),
    # ------------------------------------------------------------------------------------ what refers
    "a flow in another form": (FLOW, FLOW.replace(" -> ", " to ")),
    "a flow without a port": (FLOW, FLOW.replace(":3000/tcp", "")),
    "a space in a flow": (FLOW, FLOW.replace(":3000", ": 3000")),
    "an arrow of two signs": (FLOW, FLOW.replace("->", "=>")),
    "ports of a flow": (FLOW, FLOW.replace("3000", "3000,3001")),
    "a flow of another protocol": (FLOW, FLOW.replace("/tcp", "/icmp")),
    "an empty flow": (FLOW, f"{FLOW}    -\n"),
    "a flow to itself": (FLOW, f"{FLOW}    - grafana -> grafana:3000/tcp\n"),
    "a flow to a domain": (FLOW, f"{FLOW}    - grafana -> github.com:443/tcp\n"),
    "a flow to an address": (FLOW, f"{FLOW}    - grafana -> 9.9.9.9:53/udp\n"),
    "a flow from a zone": (FLOW, f"{FLOW}    - apps -> grafana:3000/tcp\n"),
    "a flow to a host": (FLOW, f"{FLOW}    - traefik -> docker-srv:22/tcp\n"),
    "a second way in": (FLOW, f"{FLOW}    - internet -> grafana:3000/tcp\n"),
    "a flow to nobody": (FLOW, f"{FLOW}    - traefik -> wiki:3000/tcp\n"),
    "a flow from nobody": (FLOW, f"{FLOW}    - prometeus -> loki:3100/tcp\n"),
    "a flow to another port": (FLOW, f"{FLOW}    - grafana -> prometheus:9091/tcp\n"),
    "a flow twice": (FLOW, FLOW + FLOW),
    "a route to the backend": (FLOW, f"{FLOW}    - traefik -> loki:3100/tcp\n"),
    "a route in plain text": (PLAIN, ""),
    "a zone without a service": (
        "    apps: {role: tenant,",
        "    more: {role: tenant, vlan: 40, prefix: 10.10.40.0/24}\n    apps: {role: tenant,",
    ),
    "a zone twice": ("zones: [probe]", "zones: [probe, probe]"),
    "a zone in a word": ("zones: [probe]", "zones: probe"),
    "a zone that is none": (JELLYFIN, JELLYFIN.replace("zone: apps", "zone: app")),
    "an address twice": (JELLYFIN, JELLYFIN.replace("20.11", "20.12")),
    "an address elsewhere": (JELLYFIN, JELLYFIN.replace("10.10.20.11", "10.10.30.19")),
    "a VM id twice": (JELLYFIN, JELLYFIN.replace("201", "202")),
}
"""Mistake -> a text of the sound stack file, and what stands in its place."""


def told(name: str) -> tuple[int, str]:
    """Return the exit status of a command on a file with a mistake, and what it said."""
    old, new = MISTAKES[name]
    assert TEXT.count(old) == 1, old
    said = io.StringIO()
    with TemporaryDirectory() as folder, contextlib.redirect_stderr(said):
        file = Path(folder) / "Pulumi.x.yaml"
        file.write_text(TEXT.replace(old, new), encoding="utf-8")
        return command(["judge", str(file)]), said.getvalue()


def changed_line(name: str) -> int:
    """Return the first line of the file that the mistake changes."""
    old, new = MISTAKES[name]
    before, after = TEXT.splitlines(), TEXT.replace(old, new).splitlines()
    pairs = enumerate(zip(before, after, strict=False), start=1)
    return next((number for number, (one, other) in pairs if one != other), 1)


def main() -> int:
    """Write what each mistake is told in."""
    LINES.write_text("".join(f"# {name}\n{told(name)[1]}" for name in MISTAKES), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
