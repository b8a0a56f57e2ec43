"""The JSON Schemas in docs/: up to date, valid for the stacks that load, and met by the outputs."""

import copy
import hashlib
import json
import re
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from tests.half import docker_alone, flat, proxmox_alone
from tests.policies.sound import with_acme
from tests.site import GONE, changed, configuration
from tests.unit.test_config import BAD, PROJECT
from topology import schema
from topology.config import from_file, load
from topology.outputs import SCHEMA_VERSION, outputs

CONFIGURATION = json.loads((PROJECT / "docs" / "configuration.schema.json").read_text(encoding="utf-8"))
OUTPUTS = json.loads((PROJECT / "docs" / "outputs.schema.json").read_text(encoding="utf-8"))
FROZEN = Path(__file__).with_name(f"outputs.v{SCHEMA_VERSION}.schema.json")
FROZEN_SHA256 = {
    1: "6a44fd2740551fdc8595613c8bf4b4064d4322be6df8042763c5a77394b69e6f",
    2: "128ecd6c5d6b6ca62482eeb128b6fe610f85b8967a0cba680a2c1d91c30e78a1",
}
FORMATS = FormatChecker()
FORMATS.checks("ipv4network", ValueError)(lambda text: bool(IPv4Network(text)))
EDITOR = "# yaml-language-server: $schema=docs/configuration.schema.json"


def faults(wanted: dict[str, Any], value: object) -> list[str]:
    """Return every path where a value does not fit, with the keyword that it violates."""
    found = Draft202012Validator(wanted, format_checker=FORMATS).iter_errors(value)
    return [f"{fault.json_path.removeprefix('$')}: {fault.validator}" for fault in found]


@pytest.mark.parametrize("name", schema.FILES)
def test_the_schemas_in_the_docs_are_current(name: str) -> None:
    """docs/ has the output of `make schema`."""
    assert (PROJECT / "docs" / name).read_text(encoding="utf-8") == schema.text(schema.FILES[name]())


# -------------------------------------------------------------------------------------- configuration


def misfits(values: dict[str, Any]) -> list[str]:
    """Return the schema's faults of a stack file with these keys."""
    plain = json.loads(json.dumps(values, default=str))
    config = {f"homelab-network:{key}": value for key, value in plain.items()}
    return faults(CONFIGURATION, {"config": config | {"proxmoxve:endpoint": "x"}, "encryptionsalt": "x"})


@pytest.mark.parametrize("file", sorted(PROJECT.glob("Pulumi.*.yaml")), ids=lambda file: file.name)
def test_every_stack_file_fits(file: Path) -> None:
    """Every stack file fits, with its other namespaces, and names the schema for editors."""
    from_file(file)
    text = file.read_text(encoding="utf-8")
    assert faults(CONFIGURATION, json.loads(json.dumps(yaml.safe_load(text), default=str))) == []
    assert text.startswith(f"{EDITOR}\n")


@pytest.mark.parametrize(
    "change",
    [
        {"name-prefix": "lab-", "protect": True},
        {"protect": "false"},
        {"services.grafana.host": "g.example", "services.jellyfin.memory": 4096},
        {"services.cadvisor.app": None, "services.loki.image": "grafana/loki:3.6.3"},
        {"services.jellyfin.ports[+]": "53/udp", "hosts.proxmox-srv.ports": [8006, "22", "9/udp"]},
        {"hosts.docker-srv.ssh": {"address": "docker-srv.lan", "host-key": "ssh-ed25519 AAAA", "user": "me"}},
        {"zones.management.vlan": None},
        {"services.jellyfin.kind": "vm"},
        {
            "services.jellyfin.kind": "lxc",
            "services.jellyfin.ostemplate": "local:vztmpl/mine_1.tar.zst",
            "services.jellyfin.ostype": "debian",
            "services.jellyfin.unprivileged": "false",
            "services.jellyfin.features": ["nesting", "fuse"],
            "services.jellyfin.volumes": [
                {"path": "/var/lib/jellyfin", "size": 20, "storage": "tank"},
                {"path": "/films", "host-path": "/srv/films", "writable": True},
            ],
            "services.jellyfin.devices": ["/dev/dri/renderD128"],
        },
        {"flows[+]": "vaultwarden -> internet:443"},
        {key: with_acme(configuration())[key] for key in ("tls", "flows")},
        {
            "flows[+]": {
                "flow": "site-1 -> internet:443",
                "until": "2027-01-31",
                "reason": "updates of Debian",
            }
        },
        {
            "exceptions": [
                {
                    "rule": "r",
                    "resource": "x",
                    "reason": "because of that",
                    "owner": "me",
                    "expires": "2027-01-31",
                }
            ],
            "assertions": [{"src": "internet", "accept": ["traefik:443"], "deny": ["loki:22/tcp"]}],
        },
    ],
    ids=", ".join,
)
def test_what_loads_fits(change: dict[str, Any]) -> None:
    """The schema accepts every configuration that the loader accepts."""
    load(changed(change))
    assert misfits(changed(change)) == []


SHAPES = ("unknown key", " is missing; ")
BAD_SHAPES = [case for case in BAD if any(shape in case["message"] for shape in SHAPES)]


@pytest.mark.parametrize("case", BAD_SHAPES, ids=[case["id"] for case in BAD_SHAPES])
def test_an_unknown_or_missing_key_does_not_fit(case: dict[str, Any]) -> None:
    """The schema refuses a configuration that the loader refuses for its shape."""
    assert misfits(changed(case["change"])) != []


@pytest.mark.parametrize(
    ("change", "misfit"),
    [
        ({"zones.apps.vlan": 5000}, "zones.apps.vlan: anyOf"),
        ({"zones.apps.role": "dmz"}, "zones.apps.role: enum"),
        ({"zones.apps.valn": 20}, "zones.apps: additionalProperties"),
        ({"services.loki.ports": ["3100/sctp"]}, "services.loki.ports[0]: anyOf"),
        ({"services.loki.zone": "backend"}, "services.loki: additionalProperties"),
        ({"services.jellyfin.zones": ["apps"]}, "services.jellyfin: additionalProperties"),
        ({"services.jellyfin.address": GONE}, "services.jellyfin: required"),
        ({"services.jellyfin.address": "10.10.20.256"}, "services.jellyfin.address: format"),
        ({"services.jellyfin.vmid": "201"}, "services.jellyfin.vmid: type"),
        ({"hosts.docker-srv.node": "pve1"}, "hosts['docker-srv']: additionalProperties"),
        ({"hosts.proxmox-srv.kind": "vmware"}, "hosts['proxmox-srv'].kind: const"),
        ({"flows[0]": "internet to traefik"}, "flows[0]: pattern"),
        ({"tls.certificate": GONE}, "tls: required"),
        ({"tls.acme": {"email": "you@home.example"}}, "tls: additionalProperties"),
        ({"tls": {"acme": {"email": "you@home.example"}}}, "tls.acme: required"),
        ({"zonez": {}}, ": anyOf"),
        ({"domain": GONE}, ": required"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_a_misfit_is_marked_at_its_place(change: dict[str, Any], misfit: str) -> None:
    """The schema's fault has the path of the mistake."""
    places = [
        re.sub(r"^\.config(\['homelab-network:([a-z-]+)'\])?", r"\2", fault)
        for fault in misfits(changed(change))
    ]
    assert misfit in places


def test_every_key_is_described() -> None:
    """Every key has a description for editors."""
    keys = dict(CONFIGURATION["properties"]["config"]["properties"])
    for name in ("DockerHost", "ProxmoxHost", "Ssh", "Zone", "Container", "Guest", "Certificate"):
        keys |= {f"{name}.{key}": told for key, told in CONFIGURATION["$defs"][name]["properties"].items()}
    assert [key for key, told in keys.items() if not told.get("description")] == []


# -------------------------------------------------------------------------------------------- outputs


def told(make: Callable[[], dict[str, Any]] = configuration) -> dict[str, Any]:
    """Return a site's outputs, as another project reads them."""
    made: dict[str, Any] = json.loads(json.dumps(outputs(load(make()))))
    return made


def test_the_outputs_fit_their_schema() -> None:
    """The outputs of the whole site and of each half fit their schema, and none is empty."""
    for make in (configuration, docker_alone, proxmox_alone, flat):
        assert faults(OUTPUTS, told(make)) == []
        assert all(told(make).values())


def test_the_outputs_keep_to_the_version_that_they_name() -> None:
    """A program written against the first schema of this version can read today's outputs."""
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    for make in (configuration, docker_alone, proxmox_alone, flat):
        assert faults(frozen, told(make)) == []
    assert [*_broken(frozen, OUTPUTS), *_broken(frozen["$defs"], OUTPUTS["$defs"])] == []


def test_one_more_flow_is_one_more_key() -> None:
    """A flow in the middle of the list changes no other flow's output."""
    before, after = told()["flows"], told(lambda: changed({"flows[2]": GONE}))["flows"]
    (gone,) = before.keys() - after.keys()
    assert after == {name: flow for name, flow in before.items() if name != gone}


def _broken(frozen: dict[str, Any], today: dict[str, Any]) -> list[str]:
    """Return the properties of a frozen schema that today's schema lacks, changes or makes optional."""
    if "properties" not in frozen:
        return [
            f"{name}.{gone}" for name, old in frozen.items() for gone in _broken(old, today.get(name, {}))
        ]
    return [
        key
        for key in frozen["properties"]
        if (key in frozen["required"] and key not in today.get("required", []))
        or today["properties"].get(key) != frozen["properties"][key]
    ]


def test_the_frozen_schema_is_frozen() -> None:
    """A version's schema is never edited; a change of meaning needs a new version with its own file."""
    for version, digest in FROZEN_SHA256.items():
        frozen = FROZEN.with_name(f"outputs.v{version}.schema.json")
        assert hashlib.sha256(frozen.read_bytes()).hexdigest() == digest
    assert max(FROZEN_SHA256) == SCHEMA_VERSION


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.pop("zones"),
        lambda made: made["ingress"].update(ports=["443"]),
        lambda made: made["zones"]["apps"].pop("vlan"),
        lambda made: made["flows"]["internet -> traefik:443/tcp"].update(port="443"),
        lambda made: made["zones"]["apps"].update(vlan="20"),
    ],
    ids=["key gone", "list of another type", "inner key gone", "another type", "neither type"],
)
def test_a_broken_promise_is_seen(change: Callable[[dict[str, Any]], object]) -> None:
    """Outputs with a missing or changed property do not fit, so the tests above can fail."""
    made = told()
    change(made)
    assert faults(json.loads(FROZEN.read_text(encoding="utf-8")), made) != []


def test_a_new_key_breaks_no_promise() -> None:
    """A new key is compatible with the version."""
    made = told() | {"more": 1}
    today = copy.deepcopy(OUTPUTS)
    today["properties"]["more"] = {"type": "integer"}
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    assert (faults(frozen, made), _broken(frozen, today)) == ([], _broken(frozen, OUTPUTS))
