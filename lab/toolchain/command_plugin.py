#!/usr/bin/env python3
"""A stand-in for Pulumi's command plugin, for machines where the published one can't be fetched.

It implements create, update and delete of `command:local:Command`. Remote commands, copies, asset paths and
`command.local.run` are refused at preview, by name. Note: without an `update` command an update runs `create`
again. An update or delete reads the previous run's outputs in PULUMI_COMMAND_STDOUT and
PULUMI_COMMAND_STDERR. Source: the schema of the pulumi_command wheel, whose descriptions define each
property.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from threading import Thread
from typing import Any
from uuid import uuid4

import grpc.aio  # type: ignore[import-untyped]
from pulumi.provider.experimental import provider as protocol
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.server import main
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

TYPE = "command:local:Command"
NAME = "the lab's stand-in for Pulumi's command plugin"
# The build tag sorts as 1.2.1 for the engine and marks the stand-in in every log.
VERSION = "1.2.1+stand-in"
REFUSED = ("archivePaths", "assetPaths")
Properties = dict[str, PropertyValue]


def plain(value: PropertyValue | None) -> Any:
    """Return the value without the protocol's marks; a secret becomes its plain value."""
    inner = value.value if value else None
    if isinstance(inner, Mapping):
        return {key: plain(one) for key, one in inner.items()}
    if isinstance(inner, Sequence) and not isinstance(inner, str):
        return [plain(one) for one in inner]
    return inner


class Command(protocol.Provider):
    """Runs commands on this machine; logs their output to `engine`."""

    def __init__(self, engine: str) -> None:
        self.engine_address = engine
        self.named = False
        self.children: set[asyncio.subprocess.Process] = set()

    async def log(self, urn: str, message: str) -> None:
        """Show a line beside the resource."""
        async with grpc.aio.insecure_channel(self.engine_address) as channel:
            request = engine_pb2.LogRequest(severity=engine_pb2.INFO, message=message, urn=urn)
            await engine_pb2_grpc.EngineStub(channel).Log(request)

    async def run(self, urn: str, command: str, inputs: Properties, before: Properties) -> Properties:
        """Run one command to its end and return the outputs; raises RuntimeError when it fails."""
        if not self.named:
            self.named = True
            await self.log(urn, f"command {VERSION}: {NAME}")
        environment = os.environ | (plain(inputs.get("environment")) or {})
        if plain(inputs.get("addPreviousOutputInEnv")) is not False:
            for name in before.keys() & {"stdout", "stderr"}:
                environment[f"PULUMI_COMMAND_{name.upper()}"] = plain(before[name])
        child = await asyncio.create_subprocess_exec(
            *(plain(inputs.get("interpreter")) or ["/bin/sh", "-c"]),
            command,
            env=environment,
            cwd=plain(inputs.get("dir")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self.children.add(child)
        streams = await child.communicate((plain(inputs.get("stdin")) or "").encode())
        self.children.remove(child)
        printed = {
            name: stream.decode(errors="replace").rstrip("\n")
            for name, stream in zip(("stdout", "stderr"), streams, strict=True)
        }
        secret = any(value.contains_secret() for value in inputs.values())
        logged = "" if secret else (plain(inputs.get("logging")) or "stdoutAndStderr").lower()
        for name, text in printed.items():
            if text and name in logged:
                await self.log(urn, text)
        if child.returncode:
            raise RuntimeError(f"the command ended with status {child.returncode}")
        return inputs | {name: PropertyValue(text, is_secret=secret) for name, text in printed.items()}

    async def check_config(self, request: protocol.CheckRequest) -> protocol.CheckResponse:
        """Accept any configuration: there is nothing to configure."""
        return protocol.CheckResponse(request.new_inputs)

    async def configure(self, request: protocol.ConfigureRequest) -> protocol.ConfigureResponse:  # noqa: ARG002
        """Accept secrets, so that outputs that contain them are secret, too."""
        return protocol.ConfigureResponse(accept_secrets=True)

    async def check(self, request: protocol.CheckRequest) -> protocol.CheckResponse:
        """Refuse what the stand-in does not implement."""
        # The type in a URN is preceded by its parents' types.
        kind = request.type.rpartition("$")[2]
        refused = [] if kind == TYPE else [kind]
        refused += [name for name in REFUSED if name in request.new_inputs]
        remedy = f"is not in {NAME}; use the published plugin"
        failures = [protocol.CheckFailure("", f"{name} {remedy}") for name in refused]
        return protocol.CheckResponse(request.new_inputs, failures)

    async def diff(self, request: protocol.DiffRequest) -> protocol.DiffResponse:  # noqa: ARG002
        """Leave the diff to the engine, which compares the inputs and replaces on a changed trigger."""
        return protocol.DiffResponse()

    diff_config = diff

    async def create(self, request: protocol.CreateRequest) -> protocol.CreateResponse:
        """Run `create`, if there is one."""
        outputs = await self.run(request.urn, plain(request.properties.get("create")), request.properties, {})
        return protocol.CreateResponse(uuid4().hex, outputs)

    async def update(self, request: protocol.UpdateRequest) -> protocol.UpdateResponse:
        """Run `update`, else `create`."""
        news = request.news
        command = plain(news.get("update")) or plain(news.get("create"))
        return protocol.UpdateResponse(await self.run(request.urn, command, news, request.olds))

    async def cancel(self) -> None:
        """End the running commands and their children, because the operator cancelled the engine."""
        for child in self.children:
            os.killpg(child.pid, signal.SIGTERM)

    async def delete(self, request: protocol.DeleteRequest) -> None:
        """Run `delete`, if there is one."""
        command = plain(request.properties.get("delete"))
        if command:
            await self.run(request.urn, command, request.properties, request.properties)


def end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed engine closes nothing."""
    while os.getppid() == parent:
        time.sleep(5)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    main(sys.argv[1:], VERSION, Command(next(one for one in sys.argv[1:] if not one.startswith("-"))))
