#!/usr/bin/env python3
"""Pulumi's Python language host, for where the published one can't be reached.

It starts Python programs and policy packs for the engine, and reports their exit status. It installs
nothing, has no debugger, and knows only pip's kind of environment (runtime option
`virtualenv`; uv, poetry and the type checkers need the published host).

Note: a plugin's first line on stdout is its port, so a policy pack's stdout and stderr must stay apart all
the way to the engine.

Source of the protocol: language.proto, whose stubs the `pulumi` wheel carries.
"""
# ruff: noqa: N802, ARG002  # names and arguments of the methods are the protocol's

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.empty_pb2 import Empty  # type: ignore[import-untyped]
from pulumi.runtime.proto import language_pb2 as messages
from pulumi.runtime.proto import language_pb2_grpc, plugin_pb2

EXEC = Path(__file__).resolve().with_name("pulumi-language-python-exec")
SHOWN_TO_USER = 32  # pulumi-language-python-exec's status for: the program's error has been reported already
WATCH_SECONDS = 5  # an engine that was killed says no goodbye
PROXY = EXEC.with_name("policy-proxy")  # hands each call on to a pack, as the published host does
PACKAGES = """
import json, pathlib, sysconfig
for file in sorted(pathlib.Path(sysconfig.get_path("purelib")).glob("*/pulumi-plugin.json")):
    print(json.dumps(json.loads(file.read_text())))
"""
DEPENDENCIES = """
import importlib.metadata
for one in importlib.metadata.distributions():
    print(one.name, one.version)
"""


def interpreter(
    info: messages.ProgramInfo, base: Mapping[str, str] = os.environ
) -> tuple[str, dict[str, str]]:
    """Return the program's Python and `base` made its environment; raise ValueError where there is none."""
    options = dict(info.options.items())
    virtualenv = options.pop("virtualenv", "")
    if options.pop("toolchain", "pip") != "pip" or options:
        raise ValueError(
            f"runtime.options: {sorted(options) or 'toolchain'} needs the published language host."
        )
    environment = dict(base)
    if not virtualenv:
        return "python3", environment
    folder = Path(os.path.normpath(Path(info.root_directory) / str(virtualenv)))
    python = folder / "bin/python"
    if not python.exists():
        raise ValueError(f"runtime.options.virtualenv: {folder} holds no Python; make the environment first.")
    environment.pop("PYTHONHOME", None)
    environment |= {"VIRTUAL_ENV": str(folder), "PATH": f"{python.parent}:{environment.get('PATH', '')}"}
    return str(python), environment


def ask(info: messages.ProgramInfo, script: str) -> list[str]:
    """Run a script in the program's environment and return the lines it prints."""
    python, environment = interpreter(info)
    command = [python, "-c", script]
    result = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=60
    )
    return result.stdout.splitlines()


def forward(child: subprocess.Popen[bytes], lines: SimpleQueue[messages.RunPluginResponse | None]) -> None:
    """Queue what the child prints, then its status, then None."""

    def copy(stream: Iterable[bytes], wrap: Callable[[bytes], messages.RunPluginResponse]) -> None:
        for line in stream:
            lines.put(wrap(line))

    threads = [
        Thread(target=copy, args=(child.stdout, lambda line: messages.RunPluginResponse(stdout=line))),
        Thread(target=copy, args=(child.stderr, lambda line: messages.RunPluginResponse(stderr=line))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.put(messages.RunPluginResponse(exitcode=child.wait()))
    lines.put(None)


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Answers the engine at `engine`; what it started ends with the call that asked for it, or earlier."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.children: set[subprocess.Popen[bytes]] = set()

    def start(
        self, context: grpc.ServicerContext, command: list[str], **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a child that doesn't outlive the call."""
        child: subprocess.Popen[bytes] = subprocess.Popen(command, **options)
        self.children.add(child)

        def end() -> None:
            self.children.discard(child)
            child.terminate()

        if not context.add_callback(end):
            end()
        return child

    def GetPluginInfo(self, request: Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        """Give the version that this host stands in for."""
        return plugin_pb2.PluginInfo(version=version("pulumi"))

    def GetRequiredPackages(
        self, request: messages.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> messages.GetRequiredPackagesResponse:
        """List the plugins of the packages in the program's environment."""
        return messages.GetRequiredPackagesResponse(
            packages=[
                plugin_pb2.PackageDependency(
                    name=one["name"], kind="resource", version=one["version"], server=one.get("server", "")
                )
                for one in map(json.loads, ask(request.info, PACKAGES))
                if one["resource"]
            ]
        )

    def About(self, request: messages.AboutRequest, context: grpc.ServicerContext) -> messages.AboutResponse:
        """Name the program's interpreter, for `pulumi about`."""
        executable, number = ask(
            request.info, "import platform, sys\nprint(sys.executable, platform.python_version(), sep='\\n')"
        )
        return messages.AboutResponse(executable=executable, version=number)

    def GetProgramDependencies(
        self, request: messages.GetProgramDependenciesRequest, context: grpc.ServicerContext
    ) -> messages.GetProgramDependenciesResponse:
        """List every package in the program's environment, for `pulumi about`."""
        pairs = map(str.split, ask(request.info, DEPENDENCIES))
        return messages.GetProgramDependenciesResponse(
            dependencies=[messages.DependencyInfo(name=name, version=number) for name, number in pairs]
        )

    def Run(self, request: messages.RunRequest, context: grpc.ServicerContext) -> messages.RunResponse:
        """Run a program to its end."""
        try:
            python, environment = interpreter(request.info)
        except ValueError as fault:
            return messages.RunResponse(error=str(fault))
        environment["PULUMI_CONFIG"] = json.dumps(dict(request.config))
        environment["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(list(request.configSecretKeys))
        arguments = {
            "monitor": request.monitor_address,
            "engine": self.engine,
            "project": request.project,
            "root_directory": request.info.root_directory,
            "stack": request.stack,
            "pwd": request.pwd,
            "dry_run": str(request.dryRun).lower(),
            "parallel": request.parallel,
            "organization": request.organization,
        }
        options = [f"--{name}={value}" for name, value in arguments.items() if value != ""]
        command = [python, "-u", str(EXEC), *options, request.info.entry_point, *request.args]
        status = self.start(context, command, env=environment).wait()
        if status == SHOWN_TO_USER:
            return messages.RunResponse(bail=True)
        return messages.RunResponse(error=f"the program ended with status {status}" if status else "")

    def RunPlugin(
        self, request: messages.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[messages.RunPluginResponse]:
        """Run a policy pack, or a plugin written in Python, and hand on its two streams and its status."""
        given = dict(pair.split("=", 1) for pair in request.env)
        try:
            python, environment = interpreter(request.info, given)
        except ValueError as fault:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(fault))
        lines: SimpleQueue[messages.RunPluginResponse | None] = SimpleQueue()
        context.add_callback(partial(lines.put, None))
        pack = request.kind == "analyzer"
        folder = request.info.program_directory
        start = [str(PROXY), python, "-u", "-m", "pulumi.policy"] if pack else [python, "-u", folder]
        child = self.start(
            context,
            [*start, *request.args, *([folder] if pack else [])],
            env=environment,
            cwd=folder if pack else request.pwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        Thread(target=forward, args=(child, lines), daemon=True).start()
        yield from iter(lines.get, None)

    def stop(self) -> None:
        """End every child, politely."""
        for child in tuple(self.children):
            child.terminate()

    def Cancel(self, request: Empty, context: grpc.ServicerContext) -> Empty:
        """Stop what runs, because the operator asked the engine to."""
        self.stop()
        return Empty()


def main() -> None:
    """Serve until the engine interrupts, or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    # Every running program and policy pack holds a worker for as long as it runs.
    server = grpc.server(ThreadPoolExecutor(max_workers=64))
    host = LanguageHost(sys.argv[-1])
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    parent = os.getppid()
    try:
        while server.wait_for_termination(timeout=WATCH_SECONDS) and os.getppid() == parent:
            continue
    finally:
        host.stop()


if __name__ == "__main__":
    main()
