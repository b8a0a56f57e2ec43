"""Runs the project's program on Pulumi's mocks: returns its resources without engine, plugins or hosts.

Note: no value is unknown here, because the mocks return the inputs as outputs. Only a preview by a real
engine shows which values are unknown.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import runpy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pulumi
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]
from pulumi.runtime import mocks, resource
from pulumi.runtime.proto import resource_pb2, source_pb2
from pulumi_policy import deserialize

from resources.resource import HIDDEN, Resource, decode
from topology.config import from_file, keys_of
from topology.project import NAME, PROJECT, stack_name

_FILES = ("ca-file", "certificate", "key")
"""Keys of `tls` whose value is a file name."""
_PROVIDERS = ("docker", "proxmoxve")
_SECRET = {deserialize.SPECIAL_SIG_KEY: deserialize.SPECIAL_SECRET_SIG}
"""An encrypted value of a stack file, in the form that a state has."""
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


class _Nothing(mocks.Mocks):
    """Mocks that reject calls of provider functions; the program makes none."""

    def call(self, args: mocks.MockCallArgs) -> Any:
        raise pulumi.RunError(
            f"{args.token}: the answer of a provider can't be known; name the value instead."
        )

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        raise NotImplementedError


class _Loop(asyncio.SelectorEventLoop):
    """Event loop that answers registrations at once, because no engine is waited for in another thread."""

    def run_in_executor(self, _: Any, function: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        answer = self.create_future()
        try:
            answer.set_result(function(*args))
        except Exception as error:  # noqa: BLE001  # the caller's, as from a thread
            answer.set_exception(error)
        return answer


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


class _Monitor(mocks.MockMonitor):
    """Records each registration and answers it with its inputs as outputs."""

    def __init__(self, stack: str, providers: Iterable[Resource]) -> None:
        super().__init__(_Nothing())
        self.kept: list[Resource] = [*providers]
        self._stack = stack
        self._providers = {each.type.rpartition(":")[2]: each.urn for each in self.kept}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        parents = request.parent.split("::")[2:3] if "pulumi:pulumi:Stack" not in request.parent else []
        types = "$".join([*parents, request.type])
        urn = f"urn:pulumi:{self._stack}::{NAME}::{types}::{request.name}"
        self.kept.append(
            decode(
                urn=urn,
                type=request.type,
                inputs=request.object,
                provider=self._provider(request) if request.custom else "",
                protect=request.protect,
            )
        )
        answer = Struct()
        answer.CopyFrom(request.object)
        secret = {deserialize.SPECIAL_SIG_KEY: deserialize.SPECIAL_SECRET_SIG}
        for key, value in made(request.type, request.name).items():
            answer[key] = {**secret, "value": value} if key in request.additionalSecretOutputs else value
        return resource_pb2.RegisterResourceResponse(urn=urn, id=f"{request.name}-id", object=answer)

    def _provider(self, request: Any) -> str:
        named: str = request.provider.rpartition("::")[0]
        return named or self._providers.get(request.type.partition(":")[0], "mocked")


def of_stack_file(file: Path) -> list[Resource]:
    """Run the program on a stack file, with placeholders for secrets and certificates; no flow needs them.

    Raises ConfigError for an invalid stack file, and RunError like the program.
    """
    from_file(file)
    config = keys_of(file)
    plain: dict[str, Any] = {
        key: _SECRET if isinstance(value, dict) and set(value) == {"secure"} else value
        for key, value in config.items()
    }
    named = {f"{NAME}:tls", f"{NAME}:services"} & plain.keys()
    without = {key: _without_files(plain[key]) for key in named}
    return resources(plain | without, stack=stack_name(file))


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
    if value is _SECRET:
        return HIDDEN
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def resources(config: Mapping[str, object], stack: str = "dev", program: Path = PROJECT) -> list[Resource]:
    """Run the program in a folder with a stack's configuration; raises RunError like the program."""
    asyncio.set_event_loop(_Loop())
    # An engine shows where a resource was made; without one, finding it is a fifth of the run.
    resource._get_stack_trace = source_pb2.StackTrace  # noqa: SLF001  # the SDK has no setting for it
    monitor = _Monitor(stack, _providers(config, stack))
    mocks.set_mocks(_Nothing(), project=NAME, stack=stack, preview=False, monitor=monitor)
    pulumi.runtime.set_all_config(
        {key: _as_text(value) for key, value in config.items() if value is not None}
    )

    def run() -> None:  # the SDK would make outputs of what it returns, as of all names of a module
        runpy.run_path(str(program / "__main__.py"), run_name="__main__")

    collects = gc.isenabled()
    try:
        pulumi.runtime.test(run)()  # type: ignore[no-untyped-call]
    finally:
        if collects:  # the program disables collection for itself
            gc.enable()
    return monitor.kept
