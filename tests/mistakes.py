"""Mistakes in a stack file, and the one line that each is told in.

`.venv/bin/python -m tests.mistakes` writes the lines to `tests/unit/mistakes.txt`; `git diff` then shows each
changed one. Lists of roles, apps and kinds have the names of `tests.site.LISTS`: a new row changes no line.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from commands.__main__ import main as command
from tests.site import FILE, unlisted
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


WIDE: Final = PROJECT / "tests" / "Pulumi.wide.yaml"
START = "    start: {project: start-page, zones: [frontend], ports: [3000], login: sso}\n"
SSO = "forward-auth: /api/auth/traefik"
CA = "      ca-file: $HOMELAB_STATE/tls/ca.crt\n"
PAGES = "      pages: {'9001': forge-console}\n"
STREAM = "      streams: ['1883:1883']\n"
OBSERVED = ", observed-until: 2099-01-15"
THINGS = "    - automation -> things:6053/tcp\n"
WAN = "      wan: {interface: eth0, address: 192.168.1.2, public: [8333]}\n"
LXC = "      features: [nesting]\n"
VOLUME = "{path: /var/lib/backup, size: 50}"
LATER: Final[dict[str, tuple[str, str]]] = {
    # -------------------------------------------------------------------------- slots of other projects
    "a slot's image": (START, START.replace("zones", "image: 'start:1', zones")),
    "a slot's folder": (START, START.replace("start-page", "../start-page")),
    "a slot in one zone": (START, START.replace("zones: [frontend]", "zone: frontend")),
    "a slot's variables": (START, START.replace("zones", "environment: {A: b}, zones")),
    "projects of a slot": (START, START.replace("start-page", "[start-page]")),
    "a project beside services": (
        "  homelab-network:flows:\n",
        "  homelab-network:project: start-page\n  homelab-network:flows:\n",
    ),
    # --------------------------------------------------------------------------------------- ca-file
    "a CA as a list": (CA, CA.replace("$HOMELAB", "[$HOMELAB").replace(".crt", ".crt]")),
    "a CA in Compose's spelling": (CA, CA.replace("ca-file", "ca_file")),
    "a CA of a slot's": (START, START.replace("ports", "ca-file: a.crt, ports")),
    # --------------------------------------------------------------------------------- observed-until
    "observed for days": (OBSERVED, ", observed-until: 14d"),
    "observed for good": (OBSERVED, ", observed-until: true"),
    "a day in another order": (OBSERVED, ", observed-until: 15.01.2099"),
    "observed below a service": (STREAM, f"{STREAM}      observed-until: 2099-01-15\n"),
    "a guest observed for days": (LXC, f"{LXC}      observed-until: 14d\n"),
    "a guest observed in Compose's spelling": (LXC, f"{LXC}      observed_until: 2099-01-15\n"),
    "observed on a VLAN": ("ingress: 10.10.20.2}", "ingress: 10.10.20.2, observed-until: 2099-01-15}"),
    # -------------------------------------------------------------------------------- pages and streams
    "a page for the other way round": (PAGES, "      pages: {forge-console: 9001}\n"),
    "a page without a port": (PAGES, "      pages: [forge-console]\n"),
    "a page without a flow": ("    - traefik -> forge:9001/tcp\n", ""),
    "pages left out": (PAGES, ""),
    "a page with a URL": (PAGES, PAGES.replace("forge-console", "https://console")),
    "a stream of one port": (STREAM, "      streams: [1883]\n"),
    "a stream that is a mapping": (STREAM, "      streams: {'1883': 1883}\n"),
    "a stream in a word": (STREAM, "      streams: '1883:1883'\n"),
    "a stream without quotes": (STREAM, "      streams: [22:22]\n"),
    "a stream of another listener": (STREAM, "      streams: ['8883:1883']\n"),
    "a stream of a page's port": (STREAM, "      streams: ['443:1883']\n"),
    "a stream past its audience": ("    - internet -> traefik:1883/tcp\n", ""),
    # --------------------------------------------------------------------------------------- logins
    "a login that is true": (START, START.replace("sso", "true")),
    "a login that is none": (START, START.replace("sso", "automation")),
    "a login in another spelling": (START, START.replace("sso", "ssso")),
    "an address to ask": (SSO, "forward-auth: http://sso:3000/api/auth/traefik"),
    "an answer that is true": (SSO, "forward-auth: true"),
    "a login of the login": (SSO, f"{SSO}, login: sso"),
    "a login in Traefik's spelling": (SSO, "forwardAuth: /api/auth/traefik"),
    # ---------------------------------------------------------------------- ways out, external machines
    "no name servers": ("      name-servers: [9.9.9.9]\n", ""),
    "a name server in a word": ("[9.9.9.9]", "9.9.9.9"),
    "an external machine's other port": (THINGS, THINGS.replace("6053", "6054")),
    "an external machine that starts": (THINGS, f"{THINGS}    - things -> automation:8123/tcp\n"),
    "out by the ingress": (THINGS, f"{THINGS}    - traefik -> things:6053/tcp\n"),
    "out without an egress zone": (THINGS, f"{THINGS}    - broker -> things:6053/tcp\n"),
    "a VLAN of external machines": ("ports: [6053]}", "vlan: 50, ports: [6053]}"),
    "a service of external machines": (
        "    automation:",
        "    light: {zone: things, address: 192.168.5.9}\n    automation:",
    ),
    "the role of a zone that goes out": ("role: egress", "role: internet"),
    # --------------------------------------------------------------------------------------- routers
    "a WAN in a word": (WAN, "      wan: eth0\n"),
    "a WAN by DHCP": (WAN, WAN.replace("192.168.1.2", "dhcp")),
    "a WAN with its prefix": (WAN, WAN.replace("192.168.1.2", "192.168.1.2/24")),
    "a public port with two numbers": (WAN, WAN.replace("[8333]", "['8333:8333']")),
    "a public port in a word": (WAN, WAN.replace("[8333]", "8333")),
    "a public port that no flow names": (WAN, WAN.replace("[8333]", "[8333, 22]")),
    "a leg's address": ("apps: eth1.20}", "apps: 10.10.20.1}"),
    "legs as a list": ("{management: eth1, apps: eth1.20}", "[eth1, eth1.20]"),
    "a leg twice": ("apps: eth1.20}", "apps: eth1}"),
    "a router's key": (WAN, f"{WAN}      nat: true\n"),
    "a router that is something else": (
        "      kind: router\n",
        "      kind: router\n      system: opnsense\n",
    ),
    # ------------------------------------------------------------------------------ a closed Docker host
    "ports of an open host": ("      closed: true\n", ""),
    "closed in a word": ("      closed: true\n", "      closed: on request\n"),
    "a published port of the host": ("      ports: [22]\n    pve", "      ports: [22, 443]\n    pve"),
    "a port that the host lacks": ("management -> docker-srv:22/tcp", "management -> docker-srv:9100/tcp"),
    # ------------------------------------------------------------------------------- system containers
    "a feature that is true": (LXC, "      features: nesting\n"),
    "Proxmox's text of features": (LXC, "      features: [nesting=1]\n"),
    "a feature of a privileged container": (LXC, "      features: [nfs]\n"),
    "a template without its kind": ("local:vztmpl/", "local:"),
    "a template of virtual machines": (LXC, f"{LXC}      template: 9000\n"),
    "Compose's volume": (VOLUME, "'backup:/var/lib/backup'"),
    "a volume's size with a unit": (VOLUME, VOLUME.replace("50", "50G")),
    "a volume without a size": (VOLUME, VOLUME.replace(", size: 50", "")),
    "a device's major number": (LXC, f"{LXC}      devices: ['c 226:128 rwm']\n"),
    "an image for a system container": (LXC, f"{LXC}      image: debian:12\n"),
}
"""Mistake in the keys of `WIDE` -> a text of that file, and what stands in its place."""


def text(name: str) -> tuple[str, str]:
    """Return the sound file that a mistake is in, before and after it."""
    sound, (old, new) = (TEXT, MISTAKES[name]) if name in MISTAKES else (WIDE.read_text("utf-8"), LATER[name])
    assert sound.count(old) == 1, old
    return sound, sound.replace(old, new)


def told(name: str) -> tuple[int, str]:
    """Return the exit status of a command on a file with a mistake, and what it said, its lists named."""
    status, said = judged(text(name)[1])
    return status, unlisted(said)


def judged(written: str) -> tuple[int, str]:
    """Return the exit status of a command on a file with this text, and its complaint."""
    said = io.StringIO()
    with TemporaryDirectory() as folder, contextlib.redirect_stderr(said):
        file = Path(folder) / "Pulumi.x.yaml"
        file.write_text(written, encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            return command(["judge", str(file)]), said.getvalue()


def changed_line(name: str) -> int:
    """Return the first line of the file that the mistake changes."""
    before, after = (each.splitlines() for each in text(name))
    pairs = enumerate(zip(before, after, strict=False), start=1)
    return next((number for number, (one, other) in pairs if one != other), 1)


def main() -> int:
    """Write what each mistake is told in."""
    names = (*MISTAKES, *LATER)
    LINES.write_text("".join(f"# {name}\n{told(name)[1]}" for name in names), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
