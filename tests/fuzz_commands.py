"""Kinds of cases of `tests.fuzz` beyond resources: commands with their files and words, and hosts' answers.

A command ends with 0, 1 or 2, and with 2 it says why, without a traceback. What a host answers is read, or
refused in one line.
"""

from __future__ import annotations

import gc
import json
import random
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import yaml
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]

import commands.foothold
import commands.stale
import commands.verify
import verify.drift
import verify.foothold
from commands.__main__ import main
from commands.drift import table
from policies.evaluate import evaluate_resource
from policies.rule import Finding
from preflight import checks
from preflight.docker_api import DockerApi as PreflightApi
from preflight.state import PulumiState
from resources.resource import Resource, decode
from survey import docker, proxmox, words
from survey.docker_api import DEFAULT, DockerApi
from survey.errors import SurveyError
from survey.findings import Findings
from survey.proxmox_api import ProxmoxApi
from survey.site import RunningSite
from tests.fuzz_changes import changed, spoiled
from tests.policies.sound import sound
from tests.site import FILE
from topology.config import ConfigError, from_file, load
from topology.fast_yaml import Loader
from topology.index import TopologyIndex
from topology.project import PROJECT
from verify.driver import ProbeError

UNIT = PROJECT / "tests" / "unit"
COMMANDS = ("judge", "list", "describe", "eval", "explain", "diff", "changes", "report", "cloud-init")
ON_STACKS = {
    "foothold": commands.foothold,
    "stale": commands.stale,
    "drift": verify.drift,
    "verify": commands.verify,
}
"""Command -> the module that has the folder of its stack file."""
WORDS = ("internet", "management", "loki", "traefik", "²", "", "Internet", "-x", "a->b", "{{ x }}", "x" * 999)
ENDS = ("loki:3100/tcp", "traefik:443/tcp", "loki:0/tcp", "loki:²/tcp", "loki", ":1/tcp", "loki:1/sctp", "")


def on_files(draw: random.Random, folder: Path) -> str:
    """Run a command on a stack file, a state or a run that may be broken; returns what came of it."""
    name = draw.choice(COMMANDS)
    site = folder / draw.choice(("Pulumi.x.yaml", "Pulumi.x.yaml", "state.json", "none.yaml", "."))
    with suppress(OSError):
        site.write_text(_state(draw) if site.suffix == ".json" else _stack(draw), "utf-8", "replace")
    arguments = [str(site)]
    if name in {"eval", "explain"}:
        arguments += [draw.choice(WORDS), draw.choice(ENDS)]
    elif name in {"diff", "changes"}:
        arguments += [str(draw.choice((site, FILE)))]
    elif name == "report":
        (folder / "run.json").write_text(_run(draw), "utf-8", "replace")
        run = ["--verification", str(folder / "run.json")]
        more: tuple[list[str], ...] = (["--mermaid"], run, ["--output", str(folder)], [])
        arguments += draw.choice(more)
    if site.suffix == ".json" and name not in {"describe", "changes", "cloud-init"} and draw.random() < 0.8:
        arguments += ["--config", str(draw.choice((FILE, FILE, site)))]
    return f"{name} {_ended(folder, [name, *arguments])}"


def on_stacks(draw: random.Random, folder: Path) -> str:
    """Run a command that looks for its stack file itself, on one that is broken, or on a broken run."""
    (folder / "run.json").write_text(_run(draw), "utf-8", "replace")
    if draw.random() < _SOUND:
        (folder / "Pulumi.y.yaml").write_text(_sound(), "utf-8")
        with patch.object(commands.foothold, "PROJECT", folder):
            arguments = ["foothold", "--stack", "y", "--run", str(folder / "run.json")]
            return f"foothold {_ended(folder, arguments)}"
    with suppress(ProbeError):
        verify.foothold.of_run(folder / "run.json")
    (folder / "Pulumi.x.yaml").write_text(_stack(draw), "utf-8", "replace")
    try:
        from_file(folder / "Pulumi.x.yaml")
    except ConfigError:
        name = draw.choice([*ON_STACKS])
        with patch.object(ON_STACKS[name], "PROJECT", folder):
            return f"{name} {_ended(folder, [name, '--stack', 'x'])}"
    with suppress(ProbeError):
        commands.verify.proxmox_host(folder / "Pulumi.x.yaml")
    return "accepted"


def _ended(folder: Path, arguments: list[str]) -> str:
    """Run a command in a folder; returns its end, and fails if it does not say why it refused."""
    out, err = StringIO(), StringIO()
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with chdir(folder), redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as ended:  # argparse's usage error
            status = int(ended.code or 0)
        finally:
            gc.enable()  # commands on flows switch it off, and `verify` takes the signals
            for each, handler in handlers.items():
                signal.signal(each, handler)
    assert status in {0, 1, 2}, (arguments, status)
    assert "Traceback" not in err.getvalue(), (arguments, err.getvalue())
    assert status != 2 or err.getvalue().strip(), (arguments, "says nothing")
    return ("fine", "found", "refused")[status]


def composed(draw: random.Random, folder: Path) -> str:
    """Say a broken Compose file in a stack file's words."""
    text, file = draw.choice(_compose_files()), folder / "docker-compose.yml"
    if draw.random() < 0.5:
        text = spoiled(draw, text)
    else:
        text = yaml.dump(changed(draw, _tree(text)), Dumper=_DUMPER, allow_unicode=True)
    file.write_text(text, "utf-8", "replace")
    (folder / ".env").write_text(spoiled(draw, "A=1\nB='x y'\n"), "utf-8", "replace")
    more = [[], ["--prefix", draw.choice(WORDS)], ["--profile", "x"], ["--egress", draw.choice(WORDS)]]
    return _ended(folder, ["compose", str(file), *draw.choice(more)])


class _Engine(DockerApi):
    """An engine that gives these answers, by path."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        super().__init__(DEFAULT)
        self._answers = answers

    def _read(self, path: str) -> bytes | None:
        return json.dumps(self._answers[path]).encode() if path in self._answers else None


class _Node(ProxmoxApi):
    """A Proxmox API that gives these answers, by path."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        super().__init__("https://pve:8006", "a@pve!b=c")
        self._answers = answers

    def get(self, path: str, absent: Any) -> Any:
        """Return the answer, as the API itself does."""
        return self._answers.get(path) or absent


def surveyed(draw: random.Random, _: Path) -> str:
    """Survey an engine and a Proxmox node, one of which answers what no such host does."""
    engine, node = draw.choice(_engines()), _node()
    engine, node = (changed(draw, engine), node) if draw.random() < 0.5 else (engine, changed(draw, node))
    try:
        site = RunningSite(docker.read(_Engine(engine)), None, proxmox.read(_Node(node)))
    except SurveyError as error:
        return f"refused in {len(str(error).splitlines())} line"
    found = Findings(site).sorted()
    json.dumps(words.data(site, found))
    return f"{bool([*words.lines(site, found)])}"


def planned(draw: random.Random, _: Path) -> str:
    """Tell the drift of a preview that Pulumi would not write."""
    try:
        found = verify.drift.told(changed(draw, _preview()))
    except ProbeError as error:
        return f"refused in {len(str(error).splitlines())} line"
    return f"{len([*table(found)]) > 1}"


class _Reader:
    """A Proxmox API for the pre-flight, and an engine."""

    host = DEFAULT
    is_local = False

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    def get(self, path: str) -> Any:
        """Return the answer's data; raises ProbeError."""
        if path not in self._answers:
            raise ProbeError(f"{path}: no answer")
        return self._answers[path]


def preflighted(draw: random.Random, _: Path) -> str:
    """Check hosts that answer what no engine and no node does, with a state that Pulumi would not write."""
    topology = _declared()
    engine, node = changed(draw, draw.choice(_recorded())), changed(draw, _node())
    api, other = cast("PreflightApi", _Reader(engine)), _Reader(node)
    made = checks.check_hosts(topology, PulumiState(), stack="dev", api=api, node=other)
    try:
        PulumiState.of(changed(draw, json.loads(_state(draw, broken=False))))
    except ProbeError:
        return "refused"
    return f"{bool(made.findings)}"


def sent(draw: random.Random, _: Path) -> str:
    """Judge a resource that the engine sends, with special values in any place."""
    resource = draw.choice(_resources())
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
    kinds: tuple[dict[str, Any], ...] = ({"value": "x"}, {"value": {}}, {"plaintext": "{"}, {})
    special = {**secret, **draw.choice(kinds)}
    inputs = changed(draw, dict(resource.inputs))
    if inputs and draw.random() < 0.5:
        inputs[draw.choice([*inputs])] = special
    try:
        message = ParseDict(json.loads(json.dumps(inputs, default=str)), Struct())
    except Exception:  # noqa: BLE001  # protobuf takes no NaN and no lone surrogate, so none is sent
        return "not sent"
    made = decode(urn=resource.urn, type=resource.type, inputs=message, provider=resource.provider)
    findings = evaluate_resource(made, _declared()).findings
    none_failed(findings)
    return f"{bool(findings)}"


def none_failed(findings: Iterable[Finding]) -> None:
    """Fail where a rule ended in an exception, which its finding tells."""
    failed = [str(each) for each in findings if "can't be judged (" in str(each)]
    assert not failed, failed


KINDS: dict[str, Callable[[random.Random, Path], str]] = {
    "command": on_files,
    "stack-command": on_stacks,
    "compose": composed,
    "survey": surveyed,
    "drift": planned,
    "preflight": preflighted,
    "engine": sent,
}


def _stack(draw: random.Random) -> str:
    """Return a stack file, most of them broken."""
    if draw.random() < _SOUND:
        return _sound()
    if draw.random() < 0.5:
        return spoiled(draw, _sound())
    return str(yaml.dump(changed(draw, _tree(_sound())), Dumper=_DUMPER, allow_unicode=True))


def _state(draw: random.Random, *, broken: bool = True) -> str:
    """Return an exported state of a few resources."""
    resources = [
        {"urn": each.urn, "type": each.type, "inputs": each.inputs, "provider": f"{each.provider}::1"}
        for each in draw.sample(_resources(), 4)
    ]
    tree: Any = {"version": 3, "deployment": {"manifest": {"time": ""}, "resources": resources}}
    text = json.dumps(changed(draw, tree) if broken and draw.random() < 0.8 else tree, default=str)
    return spoiled(draw, text) if broken and draw.random() < 0.2 else text


def _run(draw: random.Random) -> str:
    """Return a run of the live probe."""
    cell = dict.fromkeys(("what", "where", "expected", "got", "cause", "control"), "allowed")
    cell |= {"source": "traefik", "destination": "grafana", "verdict": "agrees"}
    tree = {"schemaVersion": 1, "stack": "x", "seconds": 1.5, "leftOut": ["x"], "cells": [cell, cell]}
    text = json.dumps(changed(draw, tree), default=str)
    return spoiled(draw, text) if draw.random() < 0.2 else text


_SOUND = 0.02
"""Share of stack files without a change; a command takes a hundred times as long on one of them."""
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@cache
def _tree(text: str) -> Any:
    return yaml.load(text, Loader=Loader)  # noqa: S506  # a safe loader


@cache
def _resources() -> list[Resource]:
    return sound().resources


@cache
def _declared() -> TopologyIndex:
    return TopologyIndex.of(load(sound().config))


@cache
def _sound() -> str:
    """Return the sound stack file, whose certificates need no machine."""
    return FILE.read_text(encoding="utf-8")


@cache
def _compose_files() -> list[str]:
    return [each.read_text(encoding="utf-8") for each in sorted((UNIT / "compose").glob("*/*compose*.y*ml"))]


@cache
def _engines() -> list[Any]:
    return [json.loads(each.read_text()) for each in sorted((UNIT / "survey").glob("docker-*.json"))]


@cache
def _node() -> Any:
    return json.loads((UNIT / "survey" / "proxmox.json").read_text())


@cache
def _recorded() -> list[Any]:
    told = [json.loads(each.read_text()) for each in sorted((UNIT / "preflight").glob("*.json"))]
    more = {"/containers/json?all=1": [], "/volumes": {"Volumes": []}}
    return [{**more, **{f"/{key}": each[key] for key in ("version", "info", "networks")}} for each in told]


@cache
def _preview() -> Any:
    return json.loads((UNIT / "drift.json").read_text())
