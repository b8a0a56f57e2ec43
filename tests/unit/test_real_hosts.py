"""The guide to real hosts: its stack file is sound, and its token has exactly the needed privileges."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import jsonschema
import pytest
import requests
import yaml

from commands import flows as command
from lab import tls
from lab.proxmox.privileges import GRANTS, LOGS
from tests.unit.test_lab_proxmox import TOKEN, add_bridge, served
from topology import schema
from topology.config import KEYS, from_file

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLE = PROJECT / "docs" / "Pulumi.home.example.yaml"
GUIDE = (PROJECT / "docs" / "real-hosts.md").read_text(encoding="utf-8")
CALLS = [
    json.loads(line)
    for name in ("proxmox_calls.jsonl", "proxmox_container_calls.jsonl")
    for line in Path(__file__).with_name(name).read_text().splitlines()
]
"""Each kind of call of the provider, in order: `up` of dev, `up` over changes by hand, `destroy`.

Those for a system container are written from the provider's source; a run of it made no others.
"""
PRIVILEGES = [(path, privilege) for path, granted in GRANTS.items() for privilege in sorted(granted)]


def test_the_labs_api_takes_the_calls_for_a_container(tmp_path: Path) -> None:
    """Each call with which the provider makes, changes and removes a container is carried out."""
    calls = Path(__file__).with_name("proxmox_container_calls.jsonl").read_text().splitlines()
    with served(tmp_path / "state.json", []) as (ask, pve):
        add_bridge(ask)
        for method, path, form in map(json.loads, calls):
            # The provider takes the refusal to start what runs as done.
            ask(method, path.removeprefix("/api2/json"), 500 if path.endswith("/start") else 200, **form)
        assert (pve.cts, pve.guests("vmbr1")) == ([], {})


def refused(folder: Path, grants: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the calls that the API refuses with these grants."""
    token = "another@pve!t=" + TOKEN.partition("=")[2]
    found = []
    with served(folder / "state.json", [], token) as (_, pve), requests.Session() as session:
        pve.acl = {}
        for path, privileges in grants.items():
            pve.grant("another@pve", path, *privileges)
        session.verify = str(tls.bundle())
        session.trust_env = False
        session.headers["Authorization"] = f"PVEAPIToken={token}"
        for method, path, form in CALLS:
            answer = session.request(method, f"{pve.url}{path}", data=form, timeout=60)
            assert answer.status_code != 401
            if answer.status_code == 403:
                found.append(f"{method} {path}: {answer.json()['message']}")
    return found


def test_what_is_granted_suffices(tmp_path: Path) -> None:
    """With the grants no call of the provider is refused."""
    assert len(CALLS) > 50
    assert refused(tmp_path, GRANTS) == []


@pytest.mark.parametrize(("path", "privilege"), PRIVILEGES)
def test_nothing_granted_is_superfluous(tmp_path: Path, path: str, privilege: str) -> None:
    """Without a privilege some call is refused."""
    assert refused(tmp_path, {**GRANTS, path: GRANTS[path] - {privilege}}) != []


def test_the_guide_grants_the_same() -> None:
    """The guide's commands grant these privileges on these paths, and its table explains each."""
    roles = dict(re.findall(r'^pveum role add (\w+) --privs "(.+)"$', GUIDE, re.MULTILINE))
    given = re.findall(r"^pveum acl modify (\S+) --users \S+ --roles (\w+)$", GUIDE, re.MULTILINE)
    assert {path: frozenset(roles[role].split()) for path, role in given} == GRANTS
    explained = re.findall(r"^\| `([A-Z]\w+\.[\w.]+)` \|", GUIDE, re.MULTILINE)
    assert sorted(explained) == sorted(privilege for _, privilege in PRIVILEGES)


def test_the_right_to_read_a_log_takes_no_other_away() -> None:
    """On a node stand all privileges of `/`, too: Proxmox takes those of the nearest path alone."""
    text = GUIDE + (PROJECT / "docs" / "suggest.md").read_text(encoding="utf-8")
    roles = dict(re.findall(r'^pveum role add (\w+) --privs "(.+)"$', text, re.MULTILINE))
    given = dict(re.findall(r"^pveum acl modify (/nodes\S+) --users \S+ --roles (\S+)$", text, re.MULTILINE))
    assert {
        path: frozenset(" ".join(roles[name] for name in names.split(",")).split())
        for path, names in given.items()
    } == LOGS
    assert {*LOGS["/nodes/pve1"]} > GRANTS["/"]


VANTAGES = {
    "  # homelab-network:vantages": "  homelab-network:vantages",
    "  #   ": "    ",
    "    # - management -> site-1:22/tcp ": "    - management -> site-1:22/tcp #",
    "192.168.20.11\n      ports: [443]": "192.168.20.11\n      ports: [443, 22]",
}
"""The example's instructions for vantages."""
FIRST = {
    "      ca-file: $HOME/tls/home.example/site-1.pem\n": "",
    "    - traefik -> site-1:443/tcp\n": "    - management -> site-1:443/tcp\n",
}
"""The guide's instructions before a guest has a certificate."""
EGRESS = {'    # - {flow: "site-1': '    - {flow: "site-1', "until: 2027-01-31": "until: 2999-01-31"}
"""The example's instructions for a first boot and updates."""


@pytest.mark.parametrize(
    "changes",
    [{}, VANTAGES, FIRST, EGRESS],
    ids=["as it is", "with vantages", "before a certificate", "with egress"],
)
def test_the_example_is_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: Mapping[str, str]
) -> None:
    """With its secrets set, the example stack file loads, and the pack finds nothing."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    document = yaml.safe_load(text)
    assert ("homelab-network:vantages" in document["config"]) is (changes is VANTAGES)
    secrets = set(re.findall(r"pulumi config set --secret (\S+)", GUIDE))
    assert secrets == {"proxmoxve:apiToken", "grafana:adminPassword", "ssh:privateKey", "traefik:users"}
    document["config"] |= {key: {"secure": ""} for key in secrets}
    file = tmp_path / "Pulumi.home.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    assert (command.main(["judge", str(file)]), capsys.readouterr().out) == (0, "")


@pytest.mark.parametrize(
    ("half", "secrets"), [("docker", {"grafana:adminPassword", "ssh:privateKey"}), ("proxmox", set())]
)
def test_the_examples_of_one_host_are_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], half: str, secrets: set[str]
) -> None:
    """Each half's example fits the schema, loads, and the pack finds nothing; no key is the other host's."""
    text = (PROJECT / "docs" / f"Pulumi.{half}-only.example.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    jsonschema.validate(json.loads(json.dumps(document, default=str)), schema.configuration())
    document["config"] |= {key: {"secure": ""} for key in secrets}
    file = tmp_path / "Pulumi.half.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    assert (command.main(["judge", str(file)]), capsys.readouterr().out) == (0, "")
    other = {"docker": "proxmox", "proxmox": "docker:"}[half]
    assert not [key for key in document["config"] if key.startswith(other)]
    assert [host.name for host in from_file(file).hosts] == [f"{half}-srv"]


def test_the_example_names_every_key() -> None:
    """The example has every key of the site and of both hosts, except `exceptions`."""
    text = EXAMPLE.read_text(encoding="utf-8")
    topology = from_file(EXAMPLE)
    assert [key for key in KEYS if f"homelab-network:{key}:" not in text] == ["exceptions"]
    for host in (topology.docker, topology.proxmox):
        named = {name.replace("_", "-") for name in host.model_fields_set}
        declared = {name.replace("_", "-") for name in type(host).model_fields}
        assert named == declared, host.name


def test_commands_of_the_guide_exist() -> None:
    """Each make target in the guide exists in the Makefile."""
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`|\$\()make (?:-s )?([a-z-]+)", GUIDE, re.MULTILINE))
    assert {"up", "preview", "env", "down"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
