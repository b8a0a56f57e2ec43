"""What a newcomer types wrongly: commands, variables of make, and names; one line says what to type."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from commands.__main__ import main as command
from topology.fault import ConfigError
from topology.project import PROJECT
from topology.stack_file import keys_of

_MAKE = {
    "report Stack=seed": "Stack=seed: variables of make are in upper case; write STACK=seed.",
    "report STAK=seed": "STAK=seed: make has no such variable; write one of STACK BASE ",
    "reprot": "reprot: is no command; make lists them\n",
    "compose": "FILE: is not given; write make compose FILE=docker-compose.yml\n",
    "report STACK=DEV": "Pulumi.DEV.yaml: cannot be read (No such file or directory); STACK=dev is meant, ",
    "report STACK=forge": "; copy examples/stacks/Pulumi.forge.yaml to it first.\n",
    "router STACK=sede": "STACK=seed is meant, or write the file.\n",
}
"""What is typed behind `make` -> a part of what it says."""

_COMMANDS = {
    ("jugde", "Pulumi.dev.yaml"): "jugde: is no command; write judge.\n",
    ("xyzzy",): "xyzzy: is no command; `python -m commands` lists them.\n",
    ("judge", "dev"): "dev: cannot be read (No such file or directory); Pulumi.dev.yaml is meant, or write",
    ("judge", "."): ".: cannot be read (Is a directory); name one of dev, seed.\n",
    ("eval", "Pulumi.dev.yaml", "internet", "lokii:3100/tcp"): "has this name; write loki.\n",
}
"""Words of `python -m commands` -> a part of what it says."""


@pytest.mark.parametrize("typed", _MAKE)
def test_make_says_what_to_type(typed: str) -> None:
    """`make` refuses a variable, a command and a stack that there is not, and names the right one."""
    words = ["make", "READY=", f"VENV={sys.prefix}", *typed.split()]
    ended = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert _MAKE[typed] in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("typed", _COMMANDS)
def test_a_command_says_what_to_type(
    typed: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command refuses a name that there is not with status 2, and names the right one."""
    monkeypatch.chdir(PROJECT)
    assert command(typed) == 2
    assert _COMMANDS[typed] in capsys.readouterr().err


@pytest.mark.parametrize("flow", [("internet -> loki:3100/tcp",), ("internet", "->", "loki:3100/tcp")])
def test_a_flow_is_asked_with_its_arrow(flow: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """`eval` takes a flow as a stack file has it, in one word or in three."""
    assert command(("eval", str(PROJECT / "tests" / "Pulumi.sound.yaml"), *flow)) == 1
    assert capsys.readouterr().out == "internet -> loki:3100/tcp: DENIED\n"


def test_a_half_written_stack_file_is_told(tmp_path: Path) -> None:
    """A stack file that was cut off behind any line loads, or is refused without another exception."""
    whole = (PROJECT / "tests" / "Pulumi.sound.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    file = tmp_path / "Pulumi.x.yaml"
    for end in range(len(whole)):
        file.write_text("".join(whole[:end]), encoding="utf-8")
        with contextlib.suppress(ConfigError):
            keys_of(file)
