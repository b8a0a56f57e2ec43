"""What `test_takeover` runs on a machine of its own: a site made by hand is taken over, and goes back.

Each command is the one that the documents or the plan name, typed as it stands there.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.parts import takeover_site, users_docker
from tests.parts.takeover_shell import STACK, Home
from tests.parts.users_docker import docker
from topology.config import from_file

STATE = Path(os.environ["HOMELAB_STATE"])
NAMESPACE = "homelab-network:"
BESIDE = {"container": "mine", "network": "my-net"}
"""What the user keeps out of the stack."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, origin: Path) -> Iterator[Home]:
    """The site made by hand on an engine, and a clone in which its user types."""
    folder = tmp_path_factory.mktemp("home")
    users_docker.neighbour()
    with users_docker.running(os.environ["USERS_ENGINE"], folder):
        takeover_site.make()
        yield Home.of(origin, folder)


def tightened(text: str, folder: Path) -> str:
    """Return the written file as its user goes on with it: read, corrected and tightened.

    The database is asked by the app alone, on their own network; its published port is closed, and what stays
    out of the stack goes. The certificate and an image that can be had here are named.
    """
    config: dict[str, Any] = yaml.safe_load(text)["config"]
    services, zones = config[f"{NAMESPACE}services"], config[f"{NAMESPACE}zones"]
    del services[BESIDE["container"]], zones[BESIDE["network"]]
    db = services["db"]
    db["zones"] = ["home-db"]
    del db["streams"]
    ingress = services["traefik"]
    ingress["image"] = takeover_site.TRAEFIK
    ingress["zones"].remove(BESIDE["network"])
    ingress["ports"] = [port for port in ingress["ports"] if port not in {5432, users_docker.PORT}]
    gone = re.compile(rf"\b{BESIDE['container']}\b|-> traefik:({users_docker.PORT}|5432)/|traefik -> db:")
    for section in ("flows", "unencrypted", "exceptions"):
        kept = [each for each in config.get(f"{NAMESPACE}{section}", ()) if not gone.search(str(each))]
        config[f"{NAMESPACE}{section}"] = kept
    # The newest that is to be had in the lab.
    known = {"rule": "images-not-known-broken", "resource": "traefik", "owner": "you"}
    expiry = {"reason": "the LAN alone reaches it", "expires": config[f"{NAMESPACE}exceptions"][0]["expires"]}
    config[f"{NAMESPACE}exceptions"].append(known | expiry)
    open_flow = {"flow": "app -> db:5432/tcp", "reason": "PostgreSQL's password is never sent in clear"}
    config[f"{NAMESPACE}unencrypted"].append(open_flow)
    config[f"{NAMESPACE}tls"] = {"certificate": f"{folder}/page.crt", "key": f"{folder}/page.key"}
    return yaml.safe_dump({"config": config}, sort_keys=False)


def certificate(folder: Path) -> None:
    """Make a certificate for every name below the domain."""
    words = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    files = ("-keyout", str(folder / "page.key"), "-out", str(folder / "page.crt"), "-days", "90")
    names = ("-subj", "/CN=home.example", "-addext", "subjectAltName=DNS:home.example,DNS:*.home.example")
    subprocess.run([*words, *files, *names], check=True, capture_output=True)


def beside() -> dict[str, Any]:
    """Return what the user keeps out of the stack, as the engine shows it."""
    (container,) = json.loads(docker("inspect", BESIDE["container"]))
    (network,) = json.loads(docker("network", "inspect", BESIDE["network"]))
    return {
        "container": (container["Id"], container["State"]["StartedAt"], container["NetworkSettings"]),
        "network": (network["Id"], network["IPAM"], network["Options"]),
    }


def containers() -> dict[str, str]:
    """Return each container's name with its id."""
    lines = docker("ps", "--all", "--no-trunc", "--format", "{{.Names}} {{.ID}}").splitlines()
    return dict(line.split() for line in lines)


def steps(home: Home) -> dict[str, float]:
    """Type the plan's steps into one shell; returns what each part of the outage took, in seconds."""
    parts = {
        "2. make way": home.plan("2. Make way"),
        "3. networks": home.plan("3. Networks"),
        "4. `make up`": home.plan("4. Import and make"),
    }
    mark = 'echo "at $EPOCHREALTIME"'
    outage = (line for lines in parts.values() for line in (*lines, mark))
    said = home.types(*home.plan("1. Before"), mark, *outage, *home.plan("5. Compare"))
    at = [float(each) for each in re.findall(r"^at ([0-9.]+)$", said, re.MULTILINE)]
    took = {part: end - begin for part, (begin, end) in zip(parts, pairwise(at), strict=True)}
    return took | {"all commands": at[-1] - at[0]}


def tell(when: str, seen: dict[str, list[float]], took: dict[str, float]) -> None:
    """Keep the outages for `test_takeover` to print; each service had one, and what stays had none."""
    assert {name: len(gaps) for name, gaps in seen.items()} == {
        name: 0 if name == "mine" else 1 for name in seen
    }
    with (STATE / "seen.jsonl").open("a") as file:
        print(json.dumps({"when": when, "outages": seen, "took": took}), file=file)


def test_the_site_is_taken_over_without_loss(home: Home, tmp_path: Path) -> None:
    """The survey's file loads; as planned, containers move, data and the rest stay, and the probe agrees."""
    before, apart, ids = takeover_site.data(), beside(), containers()
    home.types(f"make survey WRITE=Pulumi.{STACK}.yaml")
    file = home.tree / f"Pulumi.{STACK}.yaml"
    text = file.read_text(encoding="utf-8")
    assert takeover_site.PASSWORD not in text
    assert {"traefik", "app", "db", "wiki", "mine"} == {*from_file(file).services}
    certificate(tmp_path)
    file.write_text(tightened(text, tmp_path), encoding="utf-8")
    commands = text.partition("# Before the preview, ")[2].splitlines()[1:]
    home.types(*(line.removeprefix("#   ") for line in commands))
    home.types(f".venv/bin/python -m commands judge Pulumi.{STACK}.yaml")
    said = home.types(f"make adopt STACK={STACK}")
    assert "mend before the outage" not in said
    assert takeover_site.PASSWORD not in "".join(
        (home.tree / name).read_text() for name in (f"adopt-{STACK}.md", f"imports-{STACK}.json")
    )
    open_before = takeover_site.is_open(5432)
    with takeover_site.asked(tmp_path) as outages:
        took = steps(home)
        seen = outages()
    assert (open_before, takeover_site.is_open(5432)) == (True, False)
    assert takeover_site.data() == before
    assert beside() == apart
    after = containers()
    assert {name: after[f"{name}-before"] for name in ("traefik", "db", "app", "wiki")} == {
        name: ids[name] for name in ("traefik", "db", "app", "wiki")
    }
    assert not {after[name] for name in ("traefik", "db", "app", "wiki")} & {*ids.values()}
    tell("Taken over", seen, took)
    again = home.types(f"make up STACK={STACK} YES=1")
    assert not re.search(r"\b(created|updated|replaced)\b", again), again[-3000:]


def test_the_way_back_leads_back(home: Home, tmp_path: Path) -> None:
    """By the plan's way back the old containers serve again, with the same data and settings as before."""
    before, apart, old = takeover_site.data(), beside(), containers()
    with takeover_site.asked(tmp_path) as outages:
        since = time.monotonic()
        home.types(*home.plan("The way back"))
        took = {"all commands": time.monotonic() - since}
        seen = outages()
    tell("The way back", seen, took)
    assert (takeover_site.data(), beside()) == (before, apart)
    back = containers()
    for name in ("traefik", "db", "app", "wiki"):
        assert back[name] == old[f"{name}-before"], name
    assert {row["HostConfig"]["RestartPolicy"]["Name"] for row in json.loads(docker("inspect", "db"))} == {
        "always"
    }
