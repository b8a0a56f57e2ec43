"""What `components.sdk` mends in Pulumi's SDK, and that the SDK is still the one that it mends."""

import asyncio
import hashlib
import inspect
import subprocess
import sys
from typing import Any

import pulumi
import pytest
from pulumi.runtime import stack
from pulumi.runtime.settings import SETTINGS

from components import sdk
from topology.project import PROJECT


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mend the SDK as under an engine without debug lines."""
    monkeypatch.setattr(stack, "asyncio", asyncio)
    monkeypatch.setattr(pulumi.log, "debug", pulumi.log.debug)
    monkeypatch.setattr(sdk, "_debugs", lambda _: False)
    with monkeypatch.context() as given:
        given.setenv("PULUMI_CONFIG_SECRET_KEYS", "[]")
        sdk.mend()


@pytest.mark.parametrize(
    ("function", "digest"),
    [
        (stack.wait_for_rpcs, "c92289a2f839f522"),
        (pulumi.log.debug, "381cd6115cca6ca1"),
        (pulumi.log._log, "185613096f9dc351"),
    ],
)
def test_the_sdk_is_the_one_that_is_mended(function: Any, digest: str) -> None:
    """The SDK's functions are unchanged; if this fails, read components/sdk.py and docs/sdk-hot-spots.md."""
    assert hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16] == digest


def waits(monkeypatch: pytest.MonkeyPatch, outputs: int) -> int:
    """Return how often the SDK waits for outputs that are ready one after the other."""
    found, wait = [], asyncio.wait

    def counted(tasks: Any, **options: Any) -> Any:
        found.append(len(tasks))
        return wait(tasks, **options)

    async def ready(after: int) -> None:
        for _ in range(after):
            await asyncio.sleep(0)

    async def waiting() -> None:
        SETTINGS.outputs.update(asyncio.ensure_future(ready(2 * index)) for index in range(outputs))
        await stack.wait_for_rpcs()

    with monkeypatch.context() as given:
        given.setattr(asyncio, "wait", counted)
        asyncio.run(waiting())
    return len(found)


def test_outputs_are_waited_for_together(monkeypatch: pytest.MonkeyPatch, request: Any) -> None:
    """Twenty outputs need one wait in place of one for each."""
    assert waits(monkeypatch, 20) > 9
    request.getfixturevalue("engine")
    assert waits(monkeypatch, 20) == 1


@pytest.mark.usefixtures("engine")
def test_an_error_in_an_output_still_ends_the_program() -> None:
    """An exception in an apply is raised at once, while another output is never ready."""

    async def waiting() -> None:
        async def broken() -> None:
            raise ValueError("broken")

        never = asyncio.get_running_loop().create_future()
        SETTINGS.outputs.update({asyncio.ensure_future(never), asyncio.ensure_future(broken())})
        try:
            await stack.wait_for_rpcs()
        finally:
            SETTINGS.outputs.clear()

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(asyncio.wait_for(waiting(), 20))


def test_without_an_engine_nothing_is_mended() -> None:
    """Where a program is recorded or runs on mocks, the SDK stays as it is."""
    debug = pulumi.log.debug
    sdk.mend()
    assert (vars(stack)["asyncio"], pulumi.log.debug) == (asyncio, debug)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("preview --stack dev", False),
        ("up --yes --skip-preview", False),
        ("preview -d", True),
        ("up -yd", True),
        ("preview --debug", True),
        ("preview -v=9", True),
    ],
)
def test_debug_lines_stay_with_the_option(words: str, shown: bool) -> None:
    """A process below `pulumi -d` sends debug lines, one below `pulumi` without it does not."""
    asked = "import os; from components import sdk; print(sdk._debugs(os.getppid()))"
    shell = f"{sys.executable} -c '{asked}'; true"  # a command behind it, so that the shell stays
    told = subprocess.run(
        ["pulumi", "-c", shell, *words.split()],
        executable="/bin/bash",
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == str(shown)


def test_an_unknown_parent_shows_them() -> None:
    """Where no `pulumi` is above, as on a system without /proc, debug lines are sent."""
    assert sdk._debugs(1)
