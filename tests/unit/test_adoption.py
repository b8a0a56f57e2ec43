"""What a survey saw as a stack file: it loads, is judged, keeps what has to stay, and holds no secret."""

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from adoption import source, stack_file
from adoption.stack import Stack
from commands import flows
from commands import survey as command
from survey import docker, words
from survey.docker_api import DockerApi
from survey.errors import SurveyError
from survey.findings import Findings
from survey.site import RunningSite
from tests.unit.test_survey import CANARY, HERE, RECORDINGS, Answers, recorded, served
from topology.config import from_file
from topology.model import Container, SecretVariable, Topology
from topology.project import PROJECT

TODAY = date(2026, 11, 30)
Rows = dict[str, dict[str, Any]]


def rows(answers: Answers) -> Rows:
    """Return the inspected containers by name."""
    return {
        row["Name"].lstrip("/"): row
        for path, row in answers.items()
        if path.startswith("/containers/") and "Name" in row
    }


def text_of(answers: Answers, folder: Path) -> str:
    """Return the stack file of an engine that gives these answers, on the host `home`."""
    answers = {**answers, "/info": {**answers["/info"], "Name": "home"}}
    with served(answers, folder) as (endpoint, _):
        site = RunningSite(docker.read(DockerApi(endpoint)), HERE)
        return stack_file.written(site, source.read(DockerApi(endpoint, environment=True)), TODAY)


def loaded(text: str, folder: Path) -> Topology:
    """Return the topology of a written file."""
    (folder / "Pulumi.home.yaml").write_text(text, encoding="utf-8")
    return from_file(folder / "Pulumi.home.yaml")


@pytest.mark.parametrize("recording", RECORDINGS)
def test_a_recorded_host_is_a_stack_file_that_is_judged(recording: str, tmp_path: Path) -> None:
    """The file of each recorded host loads, and with its secrets `judge` finds nothing beyond exceptions."""
    text = text_of(recorded(recording), tmp_path)
    topology = loaded(text, tmp_path)
    assert {"grafana", "blog", "db", "redis", "traefik"} <= topology.services.keys()
    secrets = "".join(f"  {key}: {{secure: given}}\n" for key in topology.secrets)
    loaded(text + secrets, tmp_path)
    assert flows.main(["judge", str(tmp_path / "Pulumi.home.yaml")]) == 0


def test_networks_keep_prefix_and_name(tmp_path: Path) -> None:
    """A network whose name a zone can have is the zone, with its prefix; the ingress is on what it serves."""
    topology = loaded(text_of(recorded(RECORDINGS[1]), tmp_path), tmp_path)
    assert str(topology.zones["proxy"].prefix) == "172.18.0.0/16"
    assert {"edge", "proxy"} <= {*topology.ingress.zones}
    assert "proxy" in topology.services["db"].zones


def test_what_should_not_stay_ends_in_30_days(tmp_path: Path) -> None:
    """A published database is a stream until a day, and each exception ends on that day."""
    topology = loaded(text_of(recorded(RECORDINGS[1]), tmp_path), tmp_path)
    ends = {str(each.flow): str(each.until) for each in topology.temporary}
    assert ends["traefik -> redis:6379/tcp"] == ends["lan -> traefik:6379/tcp"] == "2026-12-30"
    assert {str(each.expires) for each in topology.exceptions} == {"2026-12-30"}


def test_volumes_and_fixed_addresses_are_kept(tmp_path: Path) -> None:
    """A named volume is external under its name, and a chosen address is the service's."""
    answers = recorded(RECORDINGS[1])
    db = rows(answers)["db"]
    db["Mounts"] = [
        {"Type": "volume", "Name": "home_db", "Destination": "/var/lib/postgresql/data", "RW": True}
    ]
    db["NetworkSettings"]["Networks"]["proxy"]["IPAMConfig"] = {"IPv4Address": "172.18.0.66"}
    topology = loaded(text_of(answers, tmp_path), tmp_path)
    assert topology.named_volumes.external == {"home_db"}
    found = topology.services["db"]
    assert isinstance(found, Container)
    assert {zone: str(ip) for zone, ip in found.addresses.items()} == {"proxy": "172.18.0.66"}


def test_a_volume_over_programs_is_kept_with_an_exception(tmp_path: Path) -> None:
    """Volumes where the image has programs stay by one exception, with which `judge` finds nothing."""
    answers = recorded(RECORDINGS[1])
    rows(answers)["db"]["Mounts"] = [
        {"Type": "volume", "Name": f"db-{name}", "Destination": f"/usr/lib/db/{name}", "RW": True}
        for name in ("scripts", "plugins")
    ]
    text = text_of(answers, tmp_path)
    topology = loaded(text, tmp_path)
    rule = "programs-are-the-images"
    assert [each.resource for each in topology.exceptions if each.rule == rule] == ["db"]
    loaded(text + "".join(f"  {key}: {{secure: given}}\n" for key in topology.secrets), tmp_path)
    assert flows.main(["judge", str(tmp_path / "Pulumi.home.yaml")]) == 0


def test_a_variable_that_names_a_neighbour_is_a_flow(tmp_path: Path) -> None:
    """A variable with a neighbour's name and port is a flow whose comment says so; its secret is a key."""
    answers = recorded(RECORDINGS[1])
    rows(answers)["blog"]["Config"]["Env"] += ["DB_HOST=db", "DB_PORT=5432", "LANGUAGE=de"]
    text = text_of(answers, tmp_path)
    assert (
        "- blog -> db:5432/tcp # certain: the variable DB_HOST names db, and the port stands beside it"
        in (line.strip().replace('"', "") for line in text.splitlines())
    )
    blog = loaded(text, tmp_path).services["blog"]
    assert isinstance(blog, Container)
    assert blog.environment["LANGUAGE"] == "de"
    assert isinstance(blog.environment["WORDPRESS_DB_PASSWORD"], SecretVariable)


def test_only_a_host_name_follows_a_services_new_name(tmp_path: Path) -> None:
    """A host follows its service's name; a user of the same name stays, and what can't follow is noted."""
    answers = recorded(RECORDINGS[1])
    db, blog = rows(answers)["db"], rows(answers)["blog"]["Config"]
    db["Config"]["Labels"] = {"com.docker.compose.project": "home", "com.docker.compose.service": "store"}
    for leg in db["NetworkSettings"]["Networks"].values():
        leg["Aliases"] = ["store"]
    login = f"postgres://wp:{CANARY}@store:5432/wp"
    blog["Env"] += ["DB_HOST=store", "DB_URL=pg://store/wp", "DB_USER=store", f"DATABASE_URL={login}"]
    text = text_of(answers, tmp_path)
    found = loaded(text, tmp_path).services["blog"]
    assert isinstance(found, Container)
    told = {name: found.environment[name] for name in ("DB_HOST", "DB_URL", "DB_USER")}
    assert told == {"DB_HOST": "db", "DB_URL": "pg://db/wp", "DB_USER": "store"}
    note = "services.blog: the variable DATABASE_URL names store, which is called db here; correct it"
    assert f"# note: {note}" in text


def test_no_secret_is_in_any_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A secret in variables, arguments, labels, a URL and a repetition is in no page, JSON or file."""
    answers = recorded(RECORDINGS[1])
    blog = rows(answers)["blog"]["Config"]
    blog["Env"] += [f"DATABASE_URL=postgres://wp:{CANARY}@db:5432/wp", f"BANNER=welcome {CANARY}"]
    blog["Labels"] |= {"org.example.token": CANARY, "org.example.note": f"see {CANARY}"}
    blog["Healthcheck"] = {"Test": ["CMD", "curl", "-u", f"admin:{CANARY}", "http://localhost"]}
    rows(answers)["portainer"]["Config"]["Cmd"] = [f"--admin-password={CANARY}"]
    with served(answers, tmp_path) as (endpoint, _):
        site = RunningSite(docker.read(DockerApi(endpoint)), HERE)
        sources = source.read(DockerApi(endpoint, environment=True))
        assert command.main(["--docker", endpoint, "--write", str(tmp_path / "Pulumi.home.yaml")]) == 0
        findings = Findings(site).sorted()
        print(*words.lines(site, findings), json.dumps(words.data(site, findings)), repr(site), repr(sources))
    said = capsys.readouterr()
    text = (tmp_path / "Pulumi.home.yaml").read_text()
    assert "blog" in text
    assert "secret_of blog DATABASE_URL | pulumi config set --secret blog:database-url --stack home" in text
    assert CANARY not in text + said.out + said.err


def test_make_writes_the_file(tmp_path: Path) -> None:
    """`make survey WRITE=` writes the file, and says how much of it is guessed and left out."""
    file = tmp_path / "Pulumi.home.yaml"
    with served(recorded(RECORDINGS[0]), tmp_path) as (endpoint, _):
        done = subprocess.run(
            ["make", "survey", f"WRITE={file}", "READY=", f"VENV={sys.prefix}"],
            cwd=PROJECT,
            env={**os.environ, "DOCKER_HOST": endpoint},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(rf"{re.escape(str(file))}: \d+ guesses to read, \d+ parts left out; ", done.stdout)
    assert "redis" in from_file(file).services


@pytest.mark.parametrize(
    "name", ["home.yaml", "Pulumi.yaml", "nowhere/Pulumi.home.yaml", "Pulumi.there.yaml"]
)
def test_a_wrong_file_is_refused_before_the_survey(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is no stack file's, a folder that is not there and a file that is are one line each."""
    (tmp_path / "Pulumi.there.yaml").write_text("config: {}\n")
    assert command.main(["--docker", "unix:///nonexistent", "--write", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert (said.count("\n"), said.startswith(str(tmp_path / name))) == (1, True)
    assert (tmp_path / "Pulumi.there.yaml").read_text() == "config: {}\n"


def test_what_the_loader_refuses_is_left_out_and_told() -> None:
    """A key, a flow, a zone and a service that the loader refuses are left out, with its message; no more."""
    stack = Stack(TODAY, hosts={"home": {"kind": "docker"}}, tls={"certificate": "a", "key": "b"})
    for name in ("edge", "front", "empty"):
        prefix = f"172.30.{len(stack.zones)}.0/24"
        stack.zones[name] = {"role": name if name == "edge" else "frontend", "prefix": prefix}
    stack.services["traefik"] = {
        "app": "traefik",
        "zones": ["edge", "front"],
        "image": "traefik:v3.7.18",
        "ports": [443],
    }
    stack.services["web"] = {
        "zones": ["front"],
        "image": "web:1",
        "ports": [80],
        "stop_signal": "9",
        "cpus": -1,
    }
    stack.services["bad"] = {"zones": ["front"], "image": "no version"}
    for text in (
        "internet -> traefik:443/tcp",
        "traefik -> web:80/tcp",
        "traefik -> bad:1/tcp",
        "nowhere -> web:80/tcp",
    ):
        stack.flow(text, "why")
    topology = stack.mend()
    assert ({*topology.services}, {*topology.zones}) == ({"traefik", "web"}, {"edge", "front"})
    assert {*map(str, topology.flows)} == {"internet -> traefik:443/tcp", "traefik -> web:80/tcp"}
    told = " ".join(stack.left_out)
    assert all(
        each in told for each in ("stop_signal", "cpus", "zones.empty", "services.bad", "nowhere -> web")
    )
    stack.hosts = {}
    with pytest.raises(SurveyError, match="can't be declared"):
        stack.mend()


# ------------------------------------------------------------------------------------------- odd hosts


def _network(answers: Answers, name: str) -> dict[str, Any]:
    (found,) = (row for row in answers["/networks"] if row["Name"] == name)
    row: dict[str, Any] = found
    return row


def _copy(answers: Answers, name: str, new: str, **labels: str) -> dict[str, Any]:
    """Add a copy of a container under a new name."""
    row = copy.deepcopy(rows(answers)[name])
    row["Name"], row["Id"] = f"/{new}", f"{len(answers):064x}"
    row["Config"]["Labels"] = {**(row["Config"]["Labels"] or {}), **labels}
    answers["/containers/json?all=1"].append({"Id": row["Id"], "State": "running"})
    answers[f"/containers/{row['Id']}/json"] = row
    return row


def _gone_stack(answers: Answers) -> None:
    rows(answers)["qbittorrent"]["HostConfig"]["NetworkMode"] = "container:" + "0" * 64


def _swarm(answers: Answers) -> None:
    answers["/info"]["Swarm"] = {"LocalNodeState": "active", "ControlAvailable": True}
    port = {"Protocol": "tcp", "TargetPort": 5432, "PublishedPort": 15432, "PublishMode": "ingress"}
    answers["/services"] = [{"ID": "s1", "Endpoint": {"Ports": [port]}}]
    _copy(answers, "db", "home_db.1.k3v9x2c4b5n6m7q8w9e0r1t2y", **{"com.docker.swarm.service.id": "s1"})


def _macvlan_alone(answers: Answers) -> None:
    answers["/containers/json?all=1"] = [{"Id": rows(answers)["jellyfin"]["Id"], "State": "running"}]


def _ipv6_network(answers: Answers) -> None:
    _network(answers, "proxy")["IPAM"]["Config"] = [{"Subnet": "fd00:1::/64", "Gateway": "fd00:1::1"}]


def _two_of_one_name(answers: Answers) -> None:
    answers["/networks"].append({**_network(answers, "pair"), "Id": "f" * 64})
    rows(answers)["lone-app"]["NetworkSettings"]["Networks"]["pair"]["NetworkID"] = "f" * 64


def _two_databases(answers: Answers) -> None:
    row = _copy(answers, "db", "other-db-1", **{"com.docker.compose.project": "other"})
    rows(answers)["db"]["Name"] = "/home-db-1"
    row["NetworkSettings"]["Networks"] = copy.deepcopy(rows(answers)["ollama"]["NetworkSettings"]["Networks"])


def _odd_names(answers: Answers) -> None:
    for new in ("home", "lan", "internet", "Über_Wiki.1", "9lives", "a" * 80, "a" * 81, "management", "edge"):
        _copy(answers, "redis", new)


def _odd_volumes(answers: Answers) -> None:
    mount = {"Type": "volume", "Destination": "/data", "RW": True}
    rows(answers)["db"]["Mounts"] = [{**mount, "Name": "ab" * 32}]
    rows(answers)["redis"]["Mounts"] = [{**mount, "Name": "shared"}]
    rows(answers)["blog"]["Mounts"] = [{**mount, "Name": "shared"}, {**mount, "Type": "npipe", "Source": "x"}]
    rows(answers)["grafana"]["Mounts"] = [
        {"Type": "bind", "Source": "/srv/data", "Destination": "/data", "RW": True},
        {"Type": "bind", "Source": "/home/you/x", "Destination": "/home", "RW": True},
        {"Type": "bind", "Source": "/etc/localtime", "Destination": "/etc/localtime", "RW": False},
    ]


def _odd_prefixes(answers: Answers) -> None:
    for name, prefix in (
        ("proxy", "10.0.0.0/8"),
        ("app", "192.0.2.0/31"),
        ("pair", "172.23.0.0/29"),
        ("media", ""),
    ):
        _network(answers, name)["IPAM"]["Config"] = [{"Subnet": prefix}] if prefix else None


def _no_containers(answers: Answers) -> None:
    answers["/containers/json?all=1"] = []


def _two_proxies(answers: Answers) -> None:
    row = _copy(answers, "traefik", "traefik-2")
    row["NetworkSettings"]["Networks"] = copy.deepcopy(rows(answers)["api"]["NetworkSettings"]["Networks"])


def _ports_taken(answers: Answers) -> None:
    ports = rows(answers)
    ports["redis"]["NetworkSettings"]["Ports"] = {"6379/tcp": [{"HostIp": "192.0.2.1", "HostPort": "2222"}]}
    ports["db"]["NetworkSettings"]["Ports"] = {
        "5432/tcp": [{"HostIp": "192.0.2.2", "HostPort": "2222"}, {"HostIp": "::", "HostPort": "2222"}],
        "22/tcp": [{"HostIp": "", "HostPort": "443"}],
        "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],  # noqa: S104
        "9/sctp": [{"HostIp": "", "HostPort": "9"}],
    }


def _odd_variables(answers: Answers) -> None:
    rows(answers)["blog"]["Config"]["Env"] = [
        "A.B=1", "PRICE=$5 ${HOME} $$", "LINES=a\nb: c\n# d", "EMPTY=", "NOVALUE", "YES=yes", "NUL=a\0b",
        "HASH=#x", "UNI=ü\u2028", "QUOTE='\"", "DOCKER_HOST=tcp://1.2.3.4:2375", "SELF=http://blog:80",
    ]  # fmt: skip


def _privileges(answers: Answers) -> None:
    host = rows(answers)["ollama"]["HostConfig"]
    host |= {
        "Privileged": True,
        "PidMode": "host",
        "IpcMode": "host",
        "CapAdd": ["ALL", "NET_ADMIN", "CAP_CHOWN"],
    }
    host["Devices"] = [{"PathOnHost": "/dev/dri", "PathInContainer": "/dev/dri", "CgroupPermissions": "rwm"}]
    host["DeviceRequests"] = [{"Driver": "nvidia", "Count": -1}]
    host["Sysctls"] = {"net.ipv4.ip_forward": "1", "net.core.somaxconn": "1024"}
    host["Ulimits"] = [{"Name": "nofile", "Soft": 1024, "Hard": 2048}, {"Name": "odd", "Soft": 1, "Hard": 1}]
    host["ExtraHosts"] = ["host.docker.internal:host-gateway", "nas:192.168.1.9"]
    host["Dns"] = ["1.1.1.1"]
    host["Tmpfs"] = {"/run": "rw,size=64m", "/proc/x": ""}
    rows(answers)["ollama"]["Config"]["User"] = "ollama"


def _podman(answers: Answers) -> None:
    answers["/version"]["Components"] = [{"Name": "Podman Engine"}]
    answers["/info"]["SecurityOptions"] = ["name=rootless"]


def _image_by_id(answers: Answers) -> None:
    rows(answers)["api"]["Config"]["Image"] = "sha256:" + "ab" * 32
    rows(answers)["jobs"]["Config"]["Image"] = ""
    rows(answers)["mongo"]["Config"]["Image"] = "localhost:5000/Team/Mongo:latest"


def _hostile_texts(answers: Answers) -> None:
    config = rows(answers)["blog"]["Config"]
    config["Labels"] |= {
        "a: b\n- c": "x",
        "note": "}, evil: [",
        "traefik.http.routers.x.rule": "Host(`A b`) || Path(`/`)",
    }
    config["Cmd"], config["Entrypoint"] = ["@/etc/passwd", "a\nb"], ["sh", "-c", "echo $HOME"]
    config["WorkingDir"], config["StopSignal"] = "../up", "9"
    config["Healthcheck"] = {"Test": ["CMD-SHELL", "exit 0"], "Interval": 5, "Retries": 1000}


def _many_of_one_name(answers: Answers) -> None:
    for number in range(20):
        name = f"homeassistant_network_{number}"
        row = _copy(answers, "redis", f"box-{number}")
        subnet = [{"Subnet": f"10.9.{number}.0/24", "Gateway": f"10.9.{number}.1"}]
        answers["/networks"].append(
            {**_network(answers, "pair"), "Name": name, "Id": name, "IPAM": {"Config": subnet}}
        )
        row["NetworkSettings"]["Networks"] = {name: {"NetworkID": name, "IPAddress": f"10.9.{number}.1"}}
        row["NetworkSettings"]["Networks"][name]["IPAMConfig"] = {"IPv4Address": f"10.9.{number}.1"}


def _images_that_are_known(answers: Answers) -> None:
    for row in rows(answers).values():
        digest = f"{row['Config']['Image'].partition(':')[0]}@sha256:{'cd' * 32}"
        config = {"Env": [], "Cmd": row["Config"]["Cmd"], "Entrypoint": row["Config"]["Entrypoint"]}
        answers[f"/images/{row['Image']}/json"] = {"RepoDigests": [digest], "Config": config}


ODD = (
    _gone_stack, _swarm, _macvlan_alone, _ipv6_network, _two_of_one_name, _two_databases, _odd_names,
    _odd_volumes, _odd_prefixes, _no_containers, _two_proxies, _ports_taken, _odd_variables, _privileges,
    _podman, _image_by_id, _hostile_texts, _many_of_one_name, _images_that_are_known,
)  # fmt: skip


@pytest.mark.parametrize("change", ODD, ids=lambda each: each.__name__.strip("_"))
def test_an_odd_host_is_a_file_that_loads(change: Callable[[Answers], None], tmp_path: Path) -> None:
    """The file of an odd host loads, and holds no secret; what can't be declared is told in it."""
    answers = recorded(RECORDINGS[1])
    change(answers)
    text = text_of(answers, tmp_path)
    loaded(text, tmp_path)
    assert CANARY not in text


@pytest.mark.parametrize(
    "answer", [{"Name": 1}, [1], [{"State": "running"}], [{"Id": "x", "State": "running"}]]
)
def test_answers_of_no_engine_are_one_line(answer: Any, tmp_path: Path) -> None:
    """Answers that are not an engine's are one line and no traceback, or nothing that runs."""
    answers = {**recorded(RECORDINGS[1]), "/containers/json?all=1": answer, "/containers/x/json": {"Id": 5}}
    with (
        served(answers, tmp_path) as (endpoint, _),
        pytest.raises(SurveyError, match=r"^unix://[^\n]*; set DOCKER_HOST to one\.$"),
    ):
        source.read(DockerApi(endpoint, environment=True))
