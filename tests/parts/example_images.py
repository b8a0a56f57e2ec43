"""Images of the stack files in examples/stacks: real programs, packed from Debian's packages and Go modules.

They are not the published images: versions differ, and what an image's own script does at the start is here
as far as the stack files use it. Ports, paths, users and variables are those of the published ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from lab import images
from lab.images.catalogue import BASE, BASE_LINKS, BASH, IMAGES, NGINX, NODE_EXPORTER, OAUTH2_PROXY, Image
from lab.images.parts import GO, debian, go
from lab.process import run
from lab.toolchain import golang
from lab.toolchain.step import Report
from tests.parts import debian_root
from tests.parts.users_docker import docker

SCRIPTS: Final = Path(__file__).with_name("example_images")
MINIFLUX: Final = go(
    "miniflux", "miniflux", {"miniflux.app/v2": "usr/bin/miniflux"}, flags=("-ldflags=-s -w",)
)
COREDNS: Final = go("coredns", "coredns", {".": "coredns"}, flags=("-ldflags=-s -w",))
MOSQUITTO: Final = debian(
    "mosquitto",
    {
        "mosquitto": "2.0.11",
        **dict.fromkeys(("libcap2", "libcjson1", "libdlt2", "libgcrypt20", "libgpg-error0", "liblz4-1"), ""),
        **dict.fromkeys(("liblzma5", "libmosquitto1", "libnsl2", "libssl3", "libsystemd0", "libtirpc3"), ""),
        **dict.fromkeys(("libwrap0", "libzstd1", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3"), ""),
        **dict.fromkeys(("libcom-err2", "libkrb5support0", "libkeyutils1"), ""),
    },
)
FRP: Final = go(
    "frp",
    "frp",
    {f"github.com/fatedier/frp/cmd/{name}": f"usr/bin/{name}" for name in ("frpc", "frps")},
    flags=("-ldflags=-s -w",),
)
PAGES: Final = """\
daemon off;
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
  include /etc/nginx/mime.types;
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server { listen 8080; root /usr/share/nginx/html; }
}
"""
SYNCTHING: Final = debian("syncthing", {"syncthing": "1.19.2"})
ALERTMANAGER: Final = go(
    "alertmanager",
    "alertmanager",
    {"github.com/prometheus/alertmanager/cmd/alertmanager": "bin/alertmanager"},
    flags=("-ldflags=-s -w",),
)
RCLONE: Final = debian("rclone", {"rclone": "1.60.1"})
_GITEA: Final = go("gitea", "gitea", {"code.gitea.io/gitea": "app/gitea/gitea"}, flags=("-ldflags=-s -w",))


def _gitea(folder: Path, report: Report) -> None:
    """Build Gitea, and add the published image's entry and the pages, whose styles are in no registry."""
    _GITEA.make(folder, report)
    source = golang.source(GO / "gitea", "code.gitea.io/gitea", report)
    for each in ("options", "public", "templates"):
        shutil.copytree(source / each, folder / "app/gitea" / each)
    shutil.copytree(source / "docker/rootless", folder, dirs_exist_ok=True)
    for script in (folder / "usr/local/bin").iterdir():
        script.chmod(0o755)


GITEA: Final = replace(_GITEA, material={**_GITEA.material, "files": 1}, make=_gitea)
GIT: Final = debian("git", {"git": "2.39", "gettext-base": "", "libpcre2-8-0": "", "zlib1g": ""})
_GITEA_VARIABLES: Final = (
    "HOME=/var/lib/gitea/git",
    "TMPDIR=/tmp/gitea",
    "GITEA_TEMP=/tmp/gitea",
    "GITEA_WORK_DIR=/var/lib/gitea",
    "GITEA_CUSTOM=/var/lib/gitea/custom",
    "GITEA_APP_INI=/etc/gitea/app.ini",
    "GITEA__server__STATIC_ROOT_PATH=/app/gitea",
)
_SMALL_LINKS: Final = {**BASE_LINKS, "bin/env": "busybox"}
SMALL: Final[Mapping[str, Image]] = {
    "miniflux:2.2.13": Image(
        name="miniflux",
        version="2.2.13",
        published=None,
        origin="built from Miniflux's Go module 2.2.13",
        parts=(BASE, MINIFLUX),
        links=_SMALL_LINKS,
        entrypoint=("/bin/env", "LISTEN_ADDR=0.0.0.0:8080", "/usr/bin/miniflux"),
    ),
    "coredns:1.12.4": Image(
        name="coredns",
        version="1.12.4",
        published=None,
        origin="built from CoreDNS's Go module 1.12.4 with its plugin hosts",
        parts=(BASE, COREDNS),
        links=BASE_LINKS,
        entrypoint=("/coredns",),
    ),
    "eclipse-mosquitto:2.0.22": Image(
        name="mosquitto",
        version="2.0.11",
        published=None,
        origin="built from Debian's mosquitto 2.0.11",
        parts=(BASE, MOSQUITTO),
        links=BASE_LINKS,
        folders={"mosquitto/data": 1883},
        entrypoint=("/usr/sbin/mosquitto", "-c", "/mosquitto/config/mosquitto.conf"),
    ),
    "oauth2-proxy:v7.15.6": Image(
        name="oauth2-proxy",
        version="7.15.6",
        published=None,
        origin="built from oauth2-proxy's Go module 7.15.6",
        parts=(BASE, OAUTH2_PROXY),
        links=BASE_LINKS,
        entrypoint=("/usr/bin/oauth2-proxy",),
    ),
    "frpc:0.65.0": Image(
        name="frpc",
        version="0.65.0",
        published=None,
        origin="built from frp's Go module 0.65.0",
        parts=(BASE, FRP),
        links=BASE_LINKS,
        entrypoint=("/usr/bin/frpc",),
    ),
    "nginx-unprivileged:1.29.1": Image(
        name="nginx-unprivileged",
        version="1.22.1",
        published=None,
        origin="built from Debian's nginx 1.22.1",
        parts=(BASE, NGINX),
        links=BASE_LINKS,
        files={"etc/nginx/unprivileged.conf": PAGES},
        entrypoint=("/usr/sbin/nginx", "-e", "stderr", "-c", "/etc/nginx/unprivileged.conf"),
    ),
    "node-exporter:v1.9.1": Image(
        name="node-exporter-alone",
        version="1.5.0",
        published=None,
        origin="built from Debian's prometheus-node-exporter 1.5.0",
        parts=(BASE, NODE_EXPORTER),
        links=BASE_LINKS,
        entrypoint=("/usr/bin/prometheus-node-exporter",),
    ),
    "syncthing:2.0.10": Image(
        name="syncthing",
        version="1.19.2",
        published=None,
        origin="built from Debian's syncthing 1.19.2",
        parts=(BASE, SYNCTHING),
        links=_SMALL_LINKS,
        folders={"var/syncthing": 1000},
        entrypoint=(
            *("/bin/env", "HOME=/var/syncthing", "/usr/bin/syncthing", "serve", "--no-browser"),
            "--home=/var/syncthing/config",
        ),
    ),
    "gitea/gitea:1.26.0-rootless": Image(
        name="gitea",
        version="1.26.0",
        published=None,
        origin="built from Gitea's Go module 1.26.0, and Debian's git 2.39",
        parts=(BASE, BASH, GIT, GITEA),
        files={"etc/passwd": "git:x:1000:1000::/var/lib/gitea/git:/bin/bash\n", "etc/group": "git:x:1000:\n"},
        links={
            **BASE_LINKS,
            **{f"bin/{each}": "busybox" for each in ("basename", "chmod", "dirname", "env", "mkdir")},
            "usr/bin/env": "/bin/busybox",
        },
        folders={"var/lib/gitea": 1000, "etc/gitea": 1000},
        entrypoint=("/bin/env", *_GITEA_VARIABLES, "/usr/local/bin/docker-entrypoint.sh"),
    ),
    "prom/alertmanager:v0.28.1": Image(
        name="alertmanager",
        version="0.28.1",
        published=None,
        origin="built from Alertmanager's Go module 0.28.1",
        parts=(BASE, ALERTMANAGER),
        links=BASE_LINKS,
        folders={"alertmanager": 65534},
        user="65534",
        folder="/alertmanager",
        entrypoint=("/bin/alertmanager",),
    ),
    "rclone/rclone:1.71.2": Image(
        name="rclone",
        version="1.60.1",
        published=None,
        origin="built from Debian's rclone 1.60.1",
        parts=(BASE, RCLONE),
        links=BASE_LINKS,
        folders={"data": 1000},
        entrypoint=("/usr/bin/rclone",),
    ),
}
"""Image of a stack file -> what is packed in its place."""
_OWN: Final = "install -d -o 999 -g 999"
_POSTGRES: Final = (
    f"sed -i s/^postgres:x:[0-9]*:[0-9]*/postgres:x:999:999/ /etc/passwd && {_OWN} /run/postgresql"
)
WHOLE: Final[Mapping[str, tuple[str, str]]] = {
    "wordpress:6.8.3-php8.3-apache": ("wordpress", "install -d -o 33 -g 33 /var/www/html"),
    "mariadb:11.8.3": ("mariadb", f"{_OWN} /var/lib/mysql /run/mysqld"),
    "postgres:17.6": ("postgres", f"{_POSTGRES} && {_OWN} -m 700 /var/lib/postgresql/data"),
}
"""Image of a stack file -> the script that its container runs, and what is set up in Debian's root for it."""
EMPTIED: Final = "rm -rf /var/lib/mysql /var/lib/postgresql /var/www/html /run/mysqld /run/postgresql"
BASE_TAG: Final = "homelab-lab/debian:12"
LAB: Final[Mapping[str, str]] = {
    "traefik:v3.7.18": next(image.tag for image in IMAGES if image.name == "traefik"),
    **{image.published: image.tag for image in IMAGES if image.published},
}
"""Image of a stack file -> the lab's own."""


def tags() -> dict[str, str]:
    """Return each image of a stack file with the name of what is packed in its place."""
    return {
        **{name: image.tag for name, image in SMALL.items()},
        **{name: _tag(script) for name, (script, _) in WHOLE.items()},
        **LAB,
    }


def get(names: Collection[str]) -> None:
    """Get the neighbour's programs, and what is packed in place of a stack file's images, from registries."""
    for part in (COREDNS, FRP):
        part.get(print)
    if WHOLE.keys() & names:
        debian_root.archive()
    for name in SMALL.keys() & names:
        for part in SMALL[name].parts:
            part.get(print)


def load(*tags: str) -> None:
    """Load images, named by what is packed, into the engine where they are missing."""
    small = (*(replace(image, published=None) for image in IMAGES), *SMALL.values())  # asks no registry
    images.ensure(None, print, tuple(image for image in small if image.tag in tags))
    for script, setup in WHOLE.values():
        if _tag(script) in tags and not _there(_tag(script)):
            _whole(script, setup)


def _tag(script: str) -> str:
    return f"homelab-lab/{script}:debian-12"


def _there(tag: str) -> bool:
    return bool(docker("image", "ls", "--quiet", tag))


def _whole(script: str, setup: str) -> None:
    """Make an image of Debian's whole root, which has the packages of all three."""
    if not _there(BASE_TAG):
        run(["docker", "import", debian_root.archive(), BASE_TAG], "Debian's root", timeout=600)
    words = ("create", "--network=none", BASE_TAG, "sh", "-ec", f"{EMPTIED}; {setup}")
    made = docker(*words).strip()
    try:
        docker("cp", f"{SCRIPTS}/.", f"{made}:/etc/lab")
        docker("start", "--attach", made)
        entry = f'ENTRYPOINT ["sh", "/etc/lab/{script}.sh"]'
        docker("commit", "--change", entry, "--change", "CMD []", made, _tag(script))
    finally:
        docker("rm", made)
