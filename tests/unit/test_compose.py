"""Compose files in a stack file's words: what is refused, and that the rest loads and passes the pack."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import compose as command
from policies.evaluate import evaluate
from tests.policies.sound import TODAY, run
from tests.site import configuration, own
from topology.config import ConfigError, load
from topology.index import TopologyIndex
from topology.project import PROJECT
from topology.scratch import without_socket

FIXTURES = Path(__file__).parent / "compose"

FILES: dict[str, dict[str, tuple[str, ...]]] = {
    "authentik": {
        "services.worker.user": ("write the uid:gid that owns its data",),
    },
    "bookstack": {},
    "build-only": {
        "services.web.build": ("build it elsewhere",),
    },
    "cloudflared": {
        "services.tunnel": ("put it on a guest with a flow to the ingress",),
    },
    "gitea-ssh": {},
    "gpu-llm": {
        "services.ollama.gpus": ("name each device in devices",),
        "services.open-webui.extra_hosts": ("declare a flow to the service instead",),
    },
    "home-assistant": {
        "services.homeassistant.network_mode": ("declare what it listens on as ports",),
        "services.homeassistant.volumes[2]": ("use a named volume",),
        "services.homeassistant.privileged": ("name the one capability in cap_add",),
    },
    "immich": {},
    "mailserver": {
        "services.mailserver.volumes[2]": ("use a named volume",),
        "services.mailserver.env_file": ("write it beside the Compose file",),
        "services.mailserver.cap_add": ("run it in a guest",),
    },
    "media-vpn": {
        "services.gluetun.cap_add": ("run it in a guest",),
        "services.gluetun.devices": ("put it into a guest",),
        "services.qbittorrent.network_mode": ("run both in one guest",),
        "services.sonarr.volumes[1]": ("use a named volume",),
        "services.jellyfin.ports": ("a guest on the LAN's VLAN",),
    },
    "miniflux": {},
    "minio": {},
    "monitoring": {
        "services.node-exporter.volumes[0]": ("use a named volume",),
        "services.node-exporter.pid": ("let it ask what it watches over the network",),
        "services.cadvisor.volumes": ("configure it by files",),
    },
    "mqtt": {
        "services.zigbee2mqtt.volumes[1]": ("use a named volume",),
        "services.zigbee2mqtt.devices": ("put it into a guest",),
    },
    "n8n-queue": {},
    "nextcloud-mariadb-redis": {},
    "nfs-external": {
        "services.photos.volumes[0]": ("use a local volume",),
        "services.photos.volumes[2]": ("mount it on Docker-SRV with a credentials file",),
    },
    "paperless-tika": {},
    "pihole": {
        "services.pihole.cap_add": ("run it in a guest",),
        "services.pihole.ports": ("a guest on the LAN's VLAN",),
    },
    "portainer": {
        "services.portainer.volumes": ("what runs is declared here",),
    },
    "profiles-extends": {
        "services.job.extends": ("run `docker compose config`",),
    },
    "redis-password": {
        "services.cache.command": ("give the program a file with secrets",),
    },
    "searxng": {},
    "secrets-files": {},
    "static-site": {},
    "syncthing": {
        "services.syncthing.volumes[0]": ("use a named volume",),
        "services.syncthing.ports": ("a guest on the LAN's VLAN",),
    },
    "traefik-labels": {},
    "traefik-paths": {},
    "uptime-kuma": {},
    "vaultwarden": {
        "services.vaultwarden.image": ("write its version",),
    },
    "wiki-postgres": {},
    "wordpress": {},
}
"""Fixture -> path of each refusal, and words of its better way; none where all can be said."""


def base() -> dict[str, Any]:
    """Return a small site: Docker-SRV, the ingress on edge and frontend, and nothing behind it."""
    config = configuration()
    services = {"traefik": {**config["services"]["traefik"], "image": "traefik:3.7.18"}}
    return {
        "domain": "home.example",
        "protect": False,
        "hosts": {"docker-srv": config["hosts"]["docker-srv"]},
        "tls": config["tls"],
        "zones": {name: config["zones"][name] for name in ("edge", "frontend")},
        "services": services,
        "flows": ["internet -> traefik:80/tcp", "internet -> traefik:443/tcp"],
    }


def joined(text: str) -> dict[str, Any]:
    """Return the small site with a fragment in it."""
    site, found = base(), own((yaml.safe_load(text) or {}).get("config", {}))
    if "egress" in found.get("zones", {}):
        site["hosts"]["docker-srv"]["name-servers"] = ["9.9.9.9"]
    if any("management" in flow for flow in found.get("flows", [])):
        site["zones"]["management"] = configuration()["zones"]["management"]
    entries = re.findall(r"-> traefik:(\S+)", " ".join(found.get("flows", [])))
    site["services"]["traefik"] |= {"ports": [80, 443, *entries]}
    return {
        **site,
        "zones": {**found.get("zones", {}), **site["zones"]},
        "services": {**site["services"], **found.get("services", {})},
        "flows": [*site["flows"], *found.get("flows", [])],
        **{key: found[key] for key in ("unencrypted", "volumes") if key in found},
    }


def pinned(text: str) -> str:
    """Return a fragment in which the images that name no version are given one, as its comments ask for."""
    return re.sub(r"image: (\S+?)(:latest)? # refused: .*", r"image: \1:1.0.0", text)


def faults(text: str) -> list[str]:
    """Return what the pack finds in the small site with a fragment; raises ConfigError."""
    config = joined(text)
    topology = load(config)
    return [
        f"{each.rule}: {each}" for each in evaluate(run(config), TopologyIndex.of(topology), TODAY).findings
    ]


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Let files with variables lie in the fixture's folder, as they lie in the project's."""
    if name := getattr(request.node, "callspec", None):
        folder = FIXTURES / str(name.params.get("name", ""))
        monkeypatch.setattr("topology.env_files.PROJECT", folder)


def printed(name: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str, list[str]]:
    """Return exit status, fragment and refusals of a fixture."""
    status = command.main([str(FIXTURES / name / "docker-compose.yml"), *more])
    out, err = capsys.readouterr()
    return status, out, err.splitlines()


@pytest.mark.usefixtures("authority")
@pytest.mark.parametrize("name", FILES)
def test_what_remains_loads_and_passes_the_pack(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The fragment, its guesses confirmed and its images pinned, makes a sound site."""
    _, text, _ = printed(name, capsys)
    assert faults(pinned(text)) == []
    assert [each.name for each in load(joined(pinned(text))).containers if without_socket(each)] == []


@pytest.mark.parametrize("name", FILES)
def test_what_is_refused_names_the_better_way(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exactly the table's refusals are on stderr and among the comments, and the exit status says so."""
    status, text, refused = printed(name, capsys)
    found: dict[str, str] = {}
    for line in refused:
        path, _, told = line.partition(": ")
        found[path] = f"{found.get(path, '')} {told}"
        assert f"# refused: {line}" in text
    assert status == bool(FILES[name])
    assert found.keys() == FILES[name].keys()
    assert [(path, way) for path, ways in FILES[name].items() for way in ways if way not in found[path]] == []


@pytest.mark.parametrize("name", FILES)
def test_no_secret_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No canary, which stands in each secret of the fixtures, is in the fragment or a message."""
    _, text, refused = printed(name, capsys)
    files = (each.read_text() for each in (FIXTURES / name).rglob("*") if each.is_file())
    told = [text, *refused]
    assert not any("canary" in each for each in told)
    if any("canary" in each for each in files) and name != "cloudflared":
        assert "pulumi config set --secret" in text or "env_file" in text


@pytest.mark.parametrize("name", FILES)
def test_each_flow_says_whether_it_is_certain(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each flow's comment begins with certain or guessed, and says why."""
    _, text, _ = printed(name, capsys)
    flows = re.findall(r"^    (?:# )?- (\S+ -> \S+)(.*)$", text, re.MULTILINE)
    assert [flow for flow, why in flows if not re.match(r" # (certain|guessed): .{8,}", why)] == []


def test_the_document_has_the_figures() -> None:
    """docs/compose.md says how many of the files can be said as a whole; each of the rest passes without."""
    whole = [name for name, refused in FILES.items() if not refused]
    assert {each.name for each in FIXTURES.iterdir()} == FILES.keys()
    text = re.sub(r"\s+", " ", (PROJECT / "docs" / "compose.md").read_text(encoding="utf-8"))
    assert f"{len(FILES)} files" in text
    assert f"{len(whole)} of them ({len(whole) * 100 // len(FILES)} %)" in text


def test_flows_and_routes_of_known_files(capsys: pytest.CaptureFixture[str]) -> None:
    """Flows are found in host variables, URLs, labels, arguments, by default and by order."""
    expected = {
        "wiki-postgres": ["traefik -> wiki:3000/tcp", "wiki -> db:5432/tcp"],
        "traefik-labels": ["traefik -> blog:2368/tcp", "blog -> blog-db:3306/tcp"],
        "miniflux": ["traefik -> miniflux:8080/tcp", "miniflux -> db:5432/tcp"],
        "gpu-llm": ["traefik -> open-webui:8080/tcp", "open-webui -> ollama:11434/tcp"],
        "paperless-tika": [
            "traefik -> webserver:8000/tcp",
            "webserver -> broker:6379/tcp",
            "webserver -> db:5432/tcp",
            "webserver -> gotenberg:3000/tcp",
            "webserver -> tika:9998/tcp",
        ],
        "immich": [
            "traefik -> immich-server:2283/tcp",
            "immich-server -> immich-machine-learning:3003/tcp",
            "immich-server -> redis:6379/tcp",
            "immich-server -> database:5432/tcp",
        ],
    }
    for name, flows in expected.items():
        _, text, _ = printed(name, capsys)
        assert own(yaml.safe_load(text)["config"])["flows"] == flows


def services_of(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """Return the services of a fixture's fragment."""
    found: dict[str, dict[str, Any]] = own(yaml.safe_load(printed(name, capsys)[1])["config"])["services"]
    return found


def test_labels_say_paths_logins_and_streams(capsys: pytest.CaptureFixture[str]) -> None:
    """Middlewares and entry points that another service of the file defines are found."""
    found = services_of("traefik-paths", capsys)
    assert found["login"]["forward-auth"] == "/api/auth/traefik"
    assert (found["app"]["login"], found["api"]["login"], found["store"]["login"]) == (
        "login",
        "login",
        "basic",
    )
    assert (found["api"]["paths"], found["api"]["strip-paths"], "paths" in found["app"]) == (
        ["/api"],
        True,
        False,
    )
    assert found["store"]["pages"] == {"9001": "console.home.example"}
    assert found["forge"]["streams"] == ["2222:22", "22000:22000/udp"]


def test_published_ports_become_pages_and_streams(capsys: pytest.CaptureFixture[str]) -> None:
    """A second web port gets a name, another port an entry for management; a database's is refused."""
    assert services_of("minio", capsys)["minio"]["pages"] == {"9001": "minio-9001"}
    _, text, _ = printed("gitea-ssh", capsys)
    assert "# Add to the ports of traefik: 222\n" in text
    assert "    - management -> traefik:222/tcp # guessed: write internet in place" in text


LABELS: dict[str, tuple[list[str], str]] = {
    "a path by a pattern": (
        ["traefik.http.routers.x.rule=Host(`a.b`) && PathRegexp(`^/x`)"],
        "asks for more",
    ),
    "a path of a header": (["traefik.http.routers.x.rule=Host(`a.b`) && Header(`x`, `y`)"], "asks for more"),
    "a path that is none": (
        ["traefik.http.routers.x.rule=Host(`a.b`) && PathPrefix(`/a/../b`)"],
        "a path that is none",
    ),
    "another path off": (
        [
            "traefik.http.routers.x.rule=Host(`a.b`) && PathPrefix(`/a/b`)",
            "traefik.http.routers.x.middlewares=s",
            "traefik.http.middlewares.s.stripprefix.prefixes=/a",
        ],
        "would take another path off",
    ),
    "a login elsewhere": (
        [
            "traefik.http.routers.x.rule=Host(`a.b`)",
            "traefik.http.routers.x.middlewares=f",
            "traefik.http.middlewares.f.forwardauth.address=http://authelia:9091/api/verify",
        ],
        "would ask a service outside this file for logins",
    ),
    "a login by itself": (
        [
            "traefik.http.routers.x.rule=Host(`a.b`)",
            "traefik.http.routers.x.middlewares=f",
            "traefik.http.middlewares.f.forwardauth.address=http://x:80/api/verify",
        ],
        "would ask a service outside this file for logins",
    ),
    "a stream at no known port": (
        ["traefik.tcp.routers.x.rule=HostSNI(`*`)", "traefik.tcp.routers.x.entrypoints=mqtt"],
        "would be a route of TCP",
    ),
    "a stream by a name": (
        [
            "traefik.tcp.routers.x.rule=HostSNI(`a.b`)",
            "traefik.tcp.routers.x.entrypoints=e",
            "traefik.tcp.services.x.loadbalancer.server.port=1883",
        ],
        "would be a route of TCP",
    ),
    "a stream with TLS": (
        [
            "traefik.tcp.routers.x.rule=HostSNI(`*`)",
            "traefik.tcp.routers.x.tls=true",
            "traefik.tcp.routers.x.entrypoints=e",
            "traefik.tcp.services.x.loadbalancer.server.port=1883",
        ],
        "would be a route of TCP",
    ),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_that_mean_more_are_told(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What labels say and no key can is refused or noted, and not dropped."""
    labels, told = LABELS[case]
    proxy = {"image": "traefik:v3.4", "command": ["--entrypoints.e.address=:1883"]}
    services = {
        "proxy": proxy,
        "x": {"image": "example/x:1.0.0", "user": "1000:1000", "expose": [80], "labels": labels},
    }
    file = tmp_path / "docker-compose.yml"
    file.write_text(yaml.safe_dump({"services": services}))
    command.main([str(file)])
    assert told in capsys.readouterr().out


def test_a_database_is_only_where_its_users_reach_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Pages are on frontend, what they ask on query, and what only inner services ask on backend."""
    _, text, _ = printed("authentik", capsys)
    services = own(yaml.safe_load(text)["config"])["services"]
    zones = {name: set(service["zones"]) for name, service in services.items()}
    assert zones == {
        "postgresql": {"query", "backend"},
        "redis": {"query", "backend"},
        "server": {"frontend", "query"},
        "worker": {"query", "backend"},
    }


@pytest.mark.usefixtures("authority")
def test_a_wrong_zone_would_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """A fragment with its database elsewhere does not load, so the test above can fail."""
    _, text, _ = printed("wiki-postgres", capsys)
    with pytest.raises(ConfigError, match="no service is in this zone"):
        faults(text.replace("zones: [query]", "zones: [frontend]").replace("[frontend, query]", "[frontend]"))


@pytest.mark.usefixtures("authority")
def test_what_goes_out_is_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --egress no service goes out; with it, one does, and the pack passes it."""
    _, text, _ = printed("uptime-kuma", capsys)
    assert "egress" not in text
    _, text, _ = printed("uptime-kuma", capsys, "--egress", "uptime-kuma")
    assert "    - uptime-kuma -> internet:443/tcp # certain: confirmed by --egress" in text
    assert faults(text) == []
    status = command.main([str(FIXTURES / "uptime-kuma" / "docker-compose.yml"), "--egress", "nobody"])
    assert status == 2


@pytest.mark.usefixtures("authority")
def test_a_prefix_renames_services_where_they_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Two files with a `db` each fit into one site; variables follow the names."""
    _, text, _ = printed("miniflux", capsys, "--prefix", "rss-")
    services = own(yaml.safe_load(text)["config"])["services"]
    assert services.keys() == {"rss-miniflux", "rss-db"}
    _, text, _ = printed("wiki-postgres", capsys, "--prefix", "wiki-")
    assert "DB_HOST: wiki-db" in text
    assert faults(text) == []


def test_a_profile_is_left_out_until_it_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A service of a profile is left out and said so; --profile takes it."""
    _, text, _ = printed("profiles-extends", capsys)
    assert "# note: services.debug is left out: it is of the profile debug" in text
    _, text, _ = printed("profiles-extends", capsys, "--profile", "debug")
    assert "    debug:" in text


def test_make_passes_the_file(tmp_path: Path) -> None:
    """`make compose` prints the fragment of FILE."""
    done = subprocess.run(
        [
            "make",
            "compose",
            f"FILE={FIXTURES}/wiki-postgres/docker-compose.yml",
            "READY=",
            f"VENV={sys.prefix}",
        ],
        cwd=PROJECT,
        env=os.environ | {"MAKEFLAGS": "", "HOME": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "    - wiki -> db:5432/tcp # certain:" in done.stdout


@pytest.mark.usefixtures("authority")
def test_the_lines_of_the_readme_make_a_sound_site() -> None:
    """README's section has at most ten lines of YAML, which load in a small site and pass the pack."""
    section = (PROJECT / "README.md").read_text(encoding="utf-8").partition("## From a Compose file")[2]
    lines = section.partition("```yaml\n")[2].partition("```")[0].splitlines()
    assert len(lines) <= 10
    found: dict[str, list[str]] = {"services": [], "flows": [], "unencrypted": [], "zones": []}
    begins = {"    - {": "unencrypted", "    - ": "flows", "    query": "zones"}
    for line in lines:
        found[next((key for start, key in begins.items() if line.startswith(start)), "services")].append(line)
    text = "".join(f"  homelab-network:{key}:\n" + "\n".join(part) + "\n" for key, part in found.items())
    assert faults(f"config:\n{text}") == []
