#!/usr/bin/env python3
"""A stand-in for Pulumi's command plugin, for where the published one can't be reached.

It has `command:local:Command` alone: create, update, delete, and what they print;
remote commands, copies, asset paths and `command.local.run` are refused at preview, by name.
Note: without an `update` command an update runs `create` again, and the state that an
update or delete reads is the outputs of the run before, in PULUMI_COMMAND_STDOUT and PULUMI_COMMAND_STDERR.
Source: the schema of the pulumi_command wheel, whose descriptions say what each property means.
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
# The build tag sorts as 1.2.1 for the engine and says in every log what this is.
VERSION = "1.2.1+stand-in"
REFUSED = ("archivePaths", "assetPaths")
Properties = dict[str, PropertyValue]


def plain(value: PropertyValue | None) -> Any:
    """Strip the marks of the protocol off a value: secrets become what they hide."""
    inner = value.value if value else None
    if isinstance(inner, Mapping):
        return {key: plain(one) for key, one in inner.items()}
    if isinstance(inner, Sequence) and not isinstance(inner, str):
        return [plain(one) for one in inner]
    return inner


class Command(protocol.Provider):
    """Runs commands on this machine; `engine` is where their output is logged."""

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
        """Run one command to its end and return the outputs; raise RuntimeError when it fails."""
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
        """Accept: there is nothing to configure."""
        return protocol.CheckResponse(request.new_inputs)

    async def configure(self, request: protocol.ConfigureRequest) -> protocol.ConfigureResponse:  # noqa: ARG002
        """Ask for secrets as such, so that output made with them is one, too."""
        return protocol.ConfigureResponse(accept_secrets=True)

    async def check(self, request: protocol.CheckRequest) -> protocol.CheckResponse:
        """Refuse what the stand-in doesn't have."""
        # The type in a URN has those of its parents before it.
        kind = request.type.rpartition("$")[2]
        refused = [] if kind == TYPE else [kind]
        refused += [name for name in REFUSED if name in request.new_inputs]
        remedy = f"is not in {NAME}; use the published plugin"
        failures = [protocol.CheckFailure("", f"{name} {remedy}") for name in refused]
        return protocol.CheckResponse(request.new_inputs, failures)

    async def diff(self, request: protocol.DiffRequest) -> protocol.DiffResponse:  # noqa: ARG002
        """Leave it to the engine, which compares the inputs and knows that a changed trigger replaces."""
        return protocol.DiffResponse()

    diff_config = diff

    async def create(self, request: protocol.CreateRequest) -> protocol.CreateResponse:
        """Run `create`, if there is one."""
        outputs = await self.run(request.urn, plain(request.properties.get("create")), request.properties, {})
        return protocol.CreateResponse(uuid4().hex, outputs)

    async def update(self, request: protocol.UpdateRequest) -> protocol.UpdateResponse:
        """Run `update`, or else `create`."""
        news = request.news
        command = plain(news.get("update")) or plain(news.get("create"))
        return protocol.UpdateResponse(await self.run(request.urn, command, news, request.olds))

    async def cancel(self) -> None:
        """End the commands that run with all they started, because the operator asked the engine to."""
        for child in self.children:
            os.killpg(child.pid, signal.SIGTERM)

    async def delete(self, request: protocol.DeleteRequest) -> None:
        """Run `delete`, if there is one."""
        command = plain(request.properties.get("delete"))
        if command:
            await self.run(request.urn, command, request.properties, request.properties)


def end_with(parent: int) -> None:
    """End this process when it has lost its parent: an engine that was killed says no goodbye."""
    while os.getppid() == parent:
        time.sleep(5)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    main(sys.argv[1:], VERSION, Command(next(one for one in sys.argv[1:] if not one.startswith("-"))))
