"""The pack on Pulumi's real engine, which previews without Docker and Proxmox."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.evaluate import evaluate
from resources.resource import from_state
from tests.documents import blocks
from tests.live.canary import files, sightings
from tests.parts.copied import Engine, findings
from tests.policies import rejected
from tests.policies.sound import CANARY, TODAY, Stack, sound
from topology.config import from_file, keys_of
from topology.project import PROJECT

PACKS = ("policies/serve", "policies")
"""The pack as the engine starts it, and as a language host starts it."""
STACK_FILES = (*sorted(PROJECT.glob("Pulumi.*.yaml")), *sorted((PROJECT / "docs").glob("Pulumi.*.yaml")))
SCALARS = """\
ports: {quoted: ["22:22", "8080:80"], text: [22:22/tcp]}
times: {every: 1h, date: "2027-01-31", clock: "12:30"}
numbers: {octal: "0755", mode: 0755, float: 3.10, version: "3.10", large: 1000000000000, hash: "12e03"}
words: {flags: ["yes", "off", "null", "~"], truth: true, nothing: null, empty: "", letter: "n"}
"""
"""Values that a reader of YAML 1.1 or 1.2 may take for another type."""


def test_the_dev_stack_previews_without_a_finding(engine: Engine) -> None:
    """With every resource still to be created, no property that a rule needs is unknown."""
    done = engine.preview()
    assert (done.returncode, findings(done.stdout)) == (0, set()), done.stdout


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (
            "    - loki-gateway -> loki:3100/tcp\n",
            "    - loki-gateway -> loki:3100/tcp\n    - traefik -> loki:3100/tcp\n",
            "flows",
        ),
        ("    - promtail -> loki", "    - internet -> cadvisor:8080/tcp\n    - promtail -> loki", "flows"),
        ("vaultwarden: {zone: vault,", "vaultwarden: {zone: apps,", "services.vaultwarden"),
        ("role: isolated, vlan: 30", "role: isolated, vlan: 20", "zones.vault"),
        (
            "      zones: [edge, frontend]\n",
            "      zones: [edge, frontend, vlan99]\n",
            "services.traefik.zones",
        ),
        (
            "site-1: {zone: wordpress,",
            "site-1: {zone: wordpress, firewall: false,",
            "services.site-1.firewall",
        ),
    ],
)
def test_one_line_of_yaml_is_refused(engine: Engine, old: str, new: str, path: str) -> None:
    """A line that opens what no role allows fails the preview with the line's path, in the only error."""
    engine.yaml(old, new)
    done = engine.preview()
    assert done.returncode != 0
    assert path in done.stdout, done.stdout
    assert [words for words in ("unhandled", "Traceback", "ended with status") if words in done.stdout] == []


def test_the_automation_api_drives_a_stack(engine: Engine) -> None:
    """The program in docs/plain-pulumi.md previews the stack; what the pack refuses ends in its error."""
    (program,) = blocks(PROJECT / "docs/plain-pulumi.md", "python")

    def driven() -> subprocess.CompletedProcess[str]:
        words = [str(engine.folder / ".venv/bin/python"), "-c", program]
        return subprocess.run(
            words, cwd=engine.folder, env=engine.environment, capture_output=True, text=True, check=False
        )

    done = driven()
    assert re.search(r"'create': \d{2,}", done.stdout), done.stdout + done.stderr
    engine.write_by_hand(rejected.loki_with_a_router_and_no_authentication)
    done = driven()
    assert "pulumi.automation.errors.CommandError" in done.stderr
    assert "internet -> loki:3100/tcp: expected DENIED, got ALLOWED via" in done.stderr


@pytest.mark.parametrize("file", STACK_FILES, ids=lambda file: file.name)
def test_setting_a_key_changes_nothing_else(engine: Engine, file: Path) -> None:
    """`pulumi config set` writes a stack file anew, and every other key means what it meant."""
    own = engine.folder / "Pulumi.dev.yaml"
    own.write_bytes(file.read_bytes())
    before = from_file(own)
    assert engine.run("config", "set", "other:key", "x", "--stack", "dev").returncode == 0
    assert "other:key: x" in own.read_text()
    own.write_text(own.read_text().replace("  other:key: x\n", ""))
    assert from_file(own) == before


def test_no_scalar_of_yaml_changes_its_meaning(engine: Engine) -> None:
    """Ports, times, dates, octal numbers and words of YAML 1.1 are read alike after `pulumi config set`."""
    own = engine.folder / "Pulumi.dev.yaml"
    lines = "".join(f"  other:{line}\n" for line in SCALARS.splitlines())
    own.write_text(own.read_text().replace("config:\n", f"config:\n{lines}", 1))
    assert engine.run("config", "set", "other:key", "x", "--stack", "dev").returncode == 0
    after = {name: value for name, value in keys_of(own).items() if name.startswith("other:")}
    meant = {f"other:{name}": value for name, value in yaml.safe_load(SCALARS).items()}
    assert after == meant | {"other:key": "x"}


@pytest.mark.parametrize(
    "change",
    [
        rejected.loki_with_a_router_and_no_authentication,
        rejected.cadvisor_published_on_all_interfaces,
        rejected.vaultwarden_on_vlan_20,
        rejected.a_leg_on_vlan_99,
        rejected.a_card_with_its_firewall_off,
    ],
    ids=lambda change: change.__name__,
)
def test_resources_written_by_hand_are_judged_alike(engine: Engine, change: Callable[[Stack], None]) -> None:
    """A stack without our components fails the preview with the findings that pytest has, word for word."""
    stack = engine.write_by_hand(change)
    done = engine.preview()
    assert done.returncode != 0
    assert findings(done.stdout) == {finding.message for finding in stack.judge().findings}, done.stdout


@pytest.mark.parametrize("pack", PACKS)
def test_a_broken_flow_is_one_line_that_ends_in_its_trace(engine: Engine, pack: str) -> None:
    """Loki behind a router is reported with the path that leads there."""
    engine.write_by_hand(rejected.loki_with_a_router_and_no_authentication)
    found = findings(engine.preview(pack=pack).stdout)
    told = [line for line in found if line.startswith("internet -> loki:3100/tcp: ")]
    assert [line.partition(" via ")[2] for line in told] == ["traefik -> frontend -> loki"]


def test_protection_is_told_to_the_pack(engine: Engine) -> None:
    """Data that the stack declares protected passes, and no longer once the program omits the protection."""
    engine.yaml("protect: false", "protect: true")
    done = engine.preview()
    assert (done.returncode, findings(done.stdout)) == (0, set()), done.stdout
    program = engine.folder / "components/proxmox_srv.py"
    said = program.read_text()
    assert "vlans, kept)" in said
    program.write_text(said.replace("vlans, kept)", "vlans)"))
    assert [line for line in findings(engine.preview().stdout) if line.startswith("vaultwarden: ")] != []


def test_what_nobody_knows_yet_is_a_violation(engine: Engine) -> None:
    """A network named by an unknown id fails the preview, where stock packs let unknown values pass."""
    engine.write_by_hand(
        lambda _: None,
        'pulumi.CustomResource("docker:index/container:Container", "late",'
        ' {"name": "late", "image": "x:1", "networksAdvanced": [{"name": made["backend"].id}]})\n',
    )
    done = engine.preview()
    assert done.returncode != 0
    assert (
        "late: networksAdvanced[0].name can't be known before creation, so nothing about it can be proved"
        in findings(done.stdout)
    ), done.stdout


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"no-devises": "mandatory"}, "no-devises: no rule has this name"),
        ({"no-devices": "disabled"}, "no-devices: rules are mandatory and take no settings"),
        ({"all": "advisory"}, "no-devices: rules are mandatory and take no settings"),
        ({"no-devices": {"enforcementLevel": "mandatory", "allow": "x"}}, "no-devices"),
    ],
    ids=["unknown name", "disabled", "all advisory", "unknown setting"],
)
def test_a_configuration_that_changes_a_rule_is_refused(engine: Engine, config: Any, message: str) -> None:
    """Rules can't be switched off, and a misspelt name is an error."""
    (engine.folder / "rules.json").write_text(json.dumps(config))
    done = engine.preview("--policy-pack-config", "rules.json")
    assert done.returncode != 0
    assert message in done.stdout, done.stdout


def test_an_exception_in_force_is_told_and_passes(engine: Engine) -> None:
    """A declared exception lets the stack pass, and the output reports the exception."""
    engine.write_by_hand(rejected.a_device_of_the_host)
    with (engine.folder / "Pulumi.dev.yaml").open("a") as file:
        file.write(
            "  homelab-network:exceptions:\n"
            "    - {rule: no-devices, resource: cadvisor, reason: reads the kernel's log,\n"
            "       owner: me, expires: 2099-01-01}\n"
            "    - {rule: containers-as-rendered, resource: cadvisor, reason: has a device of the host,\n"
            "       owner: me, expires: 2099-01-01}\n"
        )
    text = (engine.folder / "Pulumi.dev.yaml").read_text()
    salt = next(line for line in text.splitlines() if line.startswith("encryptionsalt:"))
    (engine.folder / "Pulumi.dev.yaml").write_text(text.replace(salt + "\n", "") + salt + "\n")
    done = engine.preview()
    assert (done.returncode, findings(done.stdout)) == (0, set()), done.stdout
    assert "exception no-devices for cadvisor, until 2099-01-01, by me" in done.stdout


def exported(stack: Stack, file: Path) -> None:
    """Write the state that an `up` of the stack would leave, secrets in clear text."""
    providers = sorted({r.type.partition(":")[0] for r in stack.resources if r.provider})
    base = "urn:pulumi:dev::homelab-network::"
    state: list[dict[str, Any]] = [
        {
            "urn": f"{base}pulumi:pulumi:Stack::homelab-network-dev",
            "custom": False,
            "type": "pulumi:pulumi:Stack",
        }
    ]
    state += [
        {
            "urn": f"{base}pulumi:providers:{name}::default",
            "custom": True,
            "id": "0",
            "type": f"pulumi:providers:{name}",
        }
        for name in providers
    ]
    for r in stack.resources:
        if r.provider:
            provider = f"{base}pulumi:providers:{r.type.partition(':')[0]}::default::0"
            given = {
                "custom": True,
                "id": r.name,
                "inputs": r.inputs,
                "outputs": r.inputs,
                "provider": provider,
            }
            state.append({"urn": r.urn, "type": r.type, **given})
    manifest = {"time": "2026-11-23T00:00:00Z", "magic": "", "version": ""}
    file.write_text(json.dumps({"version": 3, "deployment": {"manifest": manifest, "resources": state}}))


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize(
    "change",
    [rejected.a_router_to_loki, rejected.a_network_that_the_pack_cannot_see],
    ids=lambda change: change.__name__,
)
def test_an_exported_state_is_judged_alike(
    engine: Engine, change: Callable[[Stack], None], pack: str
) -> None:
    """`pulumi policy analyze` on a state returns the findings that pytest has, without login or plugins."""
    stack = sound()
    change(stack)
    file = engine.folder / "state.json"
    exported(stack, file)
    done = engine.run("policy", "analyze", "--file", str(file), "--policy-pack", pack)
    expected = evaluate(from_state(file), from_file(engine.folder / "Pulumi.dev.yaml"), TODAY)
    assert done.returncode != 0
    assert findings(done.stdout) == {finding.message for finding in expected.findings}, done.stdout


SLOTS = {
    slot: f"{CANARY}-{number}"
    for number, slot in enumerate(
        ("grafana:adminPassword", "traefik:users", "ssh:privateKey", "wiki:variable", "wiki:file")
    )
} | {"proxmoxve:apiToken": "root@pam!t=ca9a24b1-5d1e-4c5b-9f4e-0d0c0b0a0908"}  # its form is checked early
"""Every secret of a stack file, each with a canary of its own; the ingress's key is the fixture's."""
LOKI = "    loki:\n      app: loki\n"
WIKI = """\
    wiki:
      zones: [frontend]
      image: example/wiki:2.5.1
      ports: [3000]
      environment: {DB_PASS: {secret: "wiki:variable"}}
      secrets: {/run/secrets/session: "wiki:file"}
      env_file: wiki.env
"""
"""A container with a secret in each place that one can have."""


def test_a_canary_in_every_slot_is_seen_nowhere(engine: Engine) -> None:
    """The secret of no slot is in a preview's output, in the files that it leaves, or in the report."""
    there = "{address: docker-srv.lan, host-key: ssh-ed25519 AAAA}"
    engine.yaml("      trunk: trunk\n", f"      trunk: trunk\n      ssh: {there}\n")
    engine.yaml(LOKI, WIKI + LOKI)
    (engine.folder / "wiki.env").write_text(f"MAIL={CANARY}-mail\n")
    for slot, secret in SLOTS.items():
        assert engine.run("config", "set", "--secret", slot, secret, "--stack", "dev").returncode == 0
    shown = {" ".join(words): engine.preview(*words).stdout for words in ((), ("--diff",), ("--json",))}
    assert "command:remote:Command" in shown["--diff"]
    report = [sys.executable, "-m", "commands", "report", str(engine.folder / "Pulumi.dev.yaml")]
    html = engine.folder.parent / "report.html"
    assert subprocess.run([*report, "--output", str(html)], cwd=PROJECT, check=False).returncode == 0
    left = [
        engine.folder.parent / "state",
        *(engine.folder / part for part in ("topology", "rendered", "components")),
    ]
    shown |= files(left) | {each.name: each.read_text() for each in (engine.folder / "Pulumi.dev.yaml", html)}
    assert sightings(SLOTS | {"key": CANARY, "variables": f"{CANARY}-mail"}, shown) == []


@pytest.mark.parametrize("slot", SLOTS)
def test_a_canary_in_the_wrong_place_is_found(engine: Engine, slot: str) -> None:
    """The same search finds a secret that was set in plain text."""
    assert engine.run("config", "set", "--plaintext", slot, SLOTS[slot], "--stack", "dev").returncode == 0
    shown = {"stack file": (engine.folder / "Pulumi.dev.yaml").read_text()}
    assert sightings(SLOTS, shown) == [("stack file", slot)]


def test_no_secret_is_ever_shown(engine: Engine) -> None:
    """Secrets planted everywhere, also where rules report them, are in no output."""
    engine.write_by_hand(rejected.secrets_in_plain_sight)
    done = engine.preview()
    assert "is a secret in plain sight" in done.stdout
    policies = done.stdout.partition("Policies:")[2]
    assert CANARY not in policies
