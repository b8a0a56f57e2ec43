"""A plan by OpenTofu of the same containers, networks and volumes, beside Pulumi's preview.

OpenTofu and its Docker provider are built from Go modules (`bench/go`), the provider from the sources that
the Docker plugin wraps. Property names are translated by the provider's own schema.
Note: the authorities' keys and certificates are in Pulumi's preview alone; their number does not grow.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.measure import Run, best, measured
from bench.project import project
from bench.sites import containers
from lab import cache, toolchain
from lab.process import run
from lab.toolchain import golang
from resources import program
from resources.resource import Resource
from topology.project import PROJECT

LIMIT = 1.3
COUNTS = {100: 4, 1000: 2}
"""Containers -> runs of each kind, of which the fastest counts."""
_GO = PROJECT / "bench" / "go"
_SOURCE = "bench.invalid/homelab/docker"
_TYPES = {
    "docker:index/container:Container": "docker_container",
    "docker:index/network:Network": "docker_network",
    "docker:index/volume:Volume": "docker_volume",
}
_SMALL = ["-ldflags", "-s -w"]


def plans() -> Iterator[str]:
    """Yield a comparison of `tofu plan` and `pulumi preview` of a site's Docker half."""
    yield "## A preview beside OpenTofu's plan"
    yield ""
    yield (
        "The Docker half of a site, of which nothing exists: OpenTofu v1.12.6 plans the same resources, "
        "without components, with the provider that the Docker plugin wraps. The fastest of several runs; "
        "memory is the largest peak."
    )
    yield ""
    yield f"| containers | `tofu plan` | `pulumi preview` | ratio (limit {LIMIT}) | memory |"
    yield "|---|---|---|---|---|"
    toolchain.ensure(lambda _: None)
    programs = _programs()
    for count, runs in COUNTS.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tofu, pulumi = [], []
            words, theirs = _planned(folder / "tofu", programs, count)
            ours = _project(folder / "pulumi", count)
            for _ in range(runs):
                tofu.append(measured(words, folder / "tofu", theirs))
                pulumi.append(measured(_PREVIEW, folder / "pulumi", ours))
            yield _row(count, best(tofu), best(pulumi))
    yield ""


_PREVIEW = ("pulumi", "preview", "--stack", "dev", "--non-interactive", "--suppress-outputs")


def _row(count: int, tofu: Run, pulumi: Run) -> str:
    ratio = pulumi.seconds / tofu.seconds
    return (
        f"| {count:,} | {tofu.seconds:.2f} s | {pulumi.seconds:.2f} s | {ratio:.2f}, "
        f"{'met' if ratio <= LIMIT else 'missed'} | {tofu.memory:.0f} and {pulumi.memory:.0f} MiB |"
    )


def _project(folder: Path, count: int) -> dict[str, str]:
    folder.mkdir()
    config = {f"homelab-network:{key}": value for key, value in containers(count).items()}
    return project(folder, config | _TLS, PROJECT / "bench" / "docker_half" / "__main__.py")


_TLS = {"homelab-network:tls": {"certificate": os.devnull, "key": os.devnull}}


def _programs() -> Path:
    """Return the folder of `tofu` and the provider, built where the cache lacks them."""

    def build(folder: Path) -> None:
        for module, package, target in (
            ("opentofu", "github.com/opentofu/opentofu/cmd/tofu", "tofu"),
            ("docker", ".", "terraform-provider-docker"),
        ):
            golang.build(
                f"building {target}", _GO / module, package, folder / target, flags=_SMALL, report=print
            )

    return cache.entry("bench-opentofu", cache.digest(_GO), build)


def _planned(folder: Path, programs: Path, count: int) -> tuple[list[str], dict[str, str]]:
    """Write a configuration with the program's Docker resources; return the command and its environment."""
    folder.mkdir()
    settings = folder / "settings.tfrc"
    settings.write_text(
        f'provider_installation {{\n  dev_overrides {{ "{_SOURCE}" = "{programs}" }}\n  direct {{}}\n}}\n'
    )
    environment = {**os.environ, "TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1"}
    head = {"terraform": {"required_providers": {"docker": {"source": _SOURCE}}}, "provider": {"docker": {}}}
    main = folder / "main.tf.json"
    main.write_text(json.dumps(head))
    told = run([programs / "tofu", "providers", "schema", "-json"], "schema", env=environment, cwd=folder)
    (schema,) = json.loads(told)["provider_schemas"].values()
    made = program.resources(
        {f"homelab-network:{key}": value for key, value in containers(count).items()}
        | _TLS
        | {"grafana:adminPassword": "x", "traefik:users": "[secret]"}
    )
    main.write_text(json.dumps(head | {"resource": configuration(made, schema["resource_schemas"])}))
    return [str(programs / "tofu"), "plan", "-input=false", "-no-color"], environment


def configuration(resources: Iterable[Resource], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resources as OpenTofu has them, by type and name; an unknown property is a KeyError."""
    found: dict[str, Any] = {}
    for each in resources:
        if kind := _TYPES.get(each.type):
            name = re.sub(r"\W", "_", each.name)
            found.setdefault(kind, {})[name] = _translated(each.inputs, schemas[kind]["block"])
    return found


def _translated(inputs: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    blocks = block.get("block_types", {})
    names = {_camel(name): name for name in (*block.get("attributes", {}), *blocks)}
    names |= {_plural(camel): name for camel, name in names.items()} | names
    made: dict[str, Any] = {}
    for key, value in inputs.items():
        name = names[key]
        if name in blocks:
            inner = blocks[name]["block"]
            many = value if isinstance(value, list) else [value]
            made[name] = [_translated(each, inner) for each in many]
        else:
            made[name] = _literal(value)
    return made


def _literal(value: Any) -> Any:
    """Return a value of which OpenTofu reads no part as an expression."""
    if isinstance(value, str):
        return re.sub(r"([$%])\{", r"\1\1{", value)
    return [_literal(each) for each in value] if isinstance(value, list) else value


def _camel(name: str) -> str:
    return re.sub(r"_(.)", lambda found: found[1].upper(), name)


def _plural(name: str) -> str:
    return f"{name.removesuffix('y')}ies" if re.search("[^aeiou]y$", name) else f"{name}s"
