"""The program on the SDK's own mocks, with its event loop: what `resources.recorder` is compared with."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Mapping
from typing import Any

import pulumi
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]
from pulumi.runtime import mocks, settings
from pulumi.runtime.proto import resource_pb2

from resources import program
from resources.resource import SECRET, Resource, decode
from topology.project import NAME, PROJECT


class _Nothing(mocks.Mocks):
    """Mocks that answer nothing themselves."""

    def call(self, args: mocks.MockCallArgs) -> Any:
        raise NotImplementedError

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        raise NotImplementedError


class _Monitor(mocks.MockMonitor):
    """Records each registration and answers it with its inputs as outputs."""

    def __init__(self) -> None:
        super().__init__(_Nothing())
        self.kept: list[Resource] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        parents = request.parent.split("::")[2:3] if "pulumi:pulumi:Stack" not in request.parent else []
        urn = f"urn:pulumi:dev::{NAME}::{'$'.join([*parents, request.type])}::{request.name}"
        named = request.provider.rpartition("::")[0]
        self.kept.append(
            decode(
                urn=urn,
                type=request.type,
                inputs=request.object,
                provider=(named or "mocked") if request.custom else "",
                protect=request.protect,
            )
        )
        answer = Struct()
        answer.CopyFrom(request.object)
        for key, value in program.made(request.type, request.name).items():
            answer[key] = {**SECRET, "value": value} if key in request.additionalSecretOutputs else value
        return resource_pb2.RegisterResourceResponse(urn=urn, id=f"{request.name}-id", object=answer)


def resources(config: Mapping[str, object]) -> list[Resource]:
    """Run the program with a stack's configuration as the SDK does; raises RunError like the program."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    root = settings.get_root_resource()
    settings.set_root_resource(None)  # type: ignore[arg-type]  # None for no resource
    monitor = _Monitor()
    mocks.set_mocks(_Nothing(), project=NAME, stack="dev", preview=False, monitor=monitor)
    pulumi.runtime.set_all_config({key: program._as_text(value) for key, value in config.items()})

    def run() -> None:
        runpy.run_path(str(PROJECT / "__main__.py"), run_name="__main__")

    try:
        pulumi.runtime.test(run)()  # type: ignore[no-untyped-call]
    finally:
        settings.set_root_resource(root)  # type: ignore[arg-type]  # None for no resource
    return monitor.kept
