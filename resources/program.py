"""Runs the project's program on a recorder: returns its resources without engine, plugins or hosts.

Note: no value is unknown here, because a recorded resource's outputs are its inputs. Only a preview by a real
engine shows which values are unknown.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pulumi
from pulumi.runtime import settings
from pulumi.runtime.stack import Stack

from resources.recorder import Recorder
from resources.resource import HIDDEN, SECRET, Resource, decode
from topology.config import read
from topology.model import Topology
from topology.project import NAME, PROJECT, stack_name

_FILES = ("ca-file", "certificate", "key")
"""Keys of `tls` whose value is a file name."""
_PROVIDERS = ("docker", "proxmoxve")
_MADE = {
    "tls:index/privateKey:PrivateKey": ("privateKeyPem", "PRIVATE KEY"),
    "tls:index/certRequest:CertRequest": ("certRequestPem", "CERTIFICATE REQUEST"),
    "tls:index/selfSignedCert:SelfSignedCert": ("certPem", "CERTIFICATE"),
    "tls:index/locallySignedCert:LocallySignedCert": ("certPem", "CERTIFICATE"),
}
"""For each resource type whose output the program writes to files: the output, and its PEM label."""


def made(kind: str, name: str) -> dict[str, Any]:
    """Return a mocked resource's outputs beside its inputs: a PEM placeholder with the resource's name."""
    if kind not in _MADE:
        return {}
    output, what = _MADE[kind]
    return {output: f"-----BEGIN {what}-----\n{name}\n"}


def _providers(config: Mapping[str, object], stack: str) -> list[Resource]:
    """Return the default providers that the engine makes of a stack's `docker:` and `proxmoxve:` keys."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in config.items():
        package, _, name = key.partition(":")
        if package in _PROVIDERS:
            found.setdefault(package, {})[name] = value
    return [
        decode(
            urn=f"urn:pulumi:{stack}::{NAME}::pulumi:providers:{package}::default",
            type=f"pulumi:providers:{package}",
            inputs=inputs,
        )
        for package, inputs in found.items()
    ]


class Recorded(NamedTuple):
    """A stack file's keys of every namespace, its topology, and the resources that the program makes."""

    config: Mapping[str, Any]
    topology: Topology
    resources: list[Resource]


def of_stack_file(file: Path) -> Recorded:
    """Run the program on a stack file, with placeholders for secrets and certificates; no flow needs them.

    Raises ConfigError for an invalid stack file, and RunError like the program.
    """
    config, topology = read(file)
    plain: dict[str, Any] = {
        key: SECRET if isinstance(value, dict) and set(value) == {"secure"} else value
        for key, value in config.items()
    }
    named = {f"{NAME}:tls", f"{NAME}:services", f"{NAME}:zones"} & plain.keys()
    without = {key: _without_files(plain[key]) for key in named}
    return Recorded(config, topology, resources(plain | without, stack=stack_name(file)))


def _without_files(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {
        key: os.devnull
        if key in _FILES and isinstance(each, str)
        else _found(each)
        if key == "env_file"
        else _without_files(each)
        for key, each in value.items()
    }


def _found(files: Any) -> Any:
    """Return those files with variables that are on this machine; they are secrets, so often they are not."""
    listed = files if isinstance(files, list) else [files]
    return [
        each for each in listed if (PROJECT / (each["path"] if isinstance(each, dict) else each)).exists()
    ]


def _as_text(value: object) -> str:
    """Return a configuration value as the engine hands it to the program."""
    if value is SECRET:
        return HIDDEN
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def resources(config: Mapping[str, object], stack: str = "dev", program: Path = PROJECT) -> list[Resource]:
    """Run the program in a folder with a stack's configuration; raises RunError like the program."""
    providers = _providers(config, stack)
    recorder = Recorder(
        stack=stack,
        made=made,
        providers={each.type.rpartition(":")[2]: each.urn for each in providers},
        kept=providers,
    )
    root = settings.get_root_resource()
    settings.set_root_resource(None)  # type: ignore[arg-type]  # None for no resource
    settings.configure(settings.Settings(project=NAME, stack=stack, dry_run=False))
    pulumi.runtime.set_all_config(
        {key: _as_text(value) for key, value in config.items() if value is not None}
    )
    collects = gc.isenabled()
    try:
        with recorder.recording():
            Stack()
            runpy.run_path(str(program / "__main__.py"), run_name="__main__")
    finally:
        settings.set_root_resource(root)  # type: ignore[arg-type]  # None for no resource
        if collects:  # the program disables collection for itself
            gc.enable()
    return recorder.kept
