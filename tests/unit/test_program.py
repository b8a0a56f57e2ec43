"""What the program on Pulumi's mocks, YAML files and usage errors do without."""

import subprocess
import sys
import threading
import traceback
from typing import Any

import pytest
import yaml

from tests.policies.sound import run
from tests.site import FILE, configuration
from topology.fast_yaml import Loader
from topology.project import PROJECT


def test_a_registration_needs_no_thread_and_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """No registration starts a thread or looks for its place in the program; a new SDK may need a new way."""
    traces, extract, before = [], traceback.extract_stack, set(threading.enumerate())

    def counted(*words: Any, **more: Any) -> Any:
        traces.append(words)
        return extract(*words, **more)

    monkeypatch.setattr(traceback, "extract_stack", counted)
    assert run(configuration())
    assert (traces, set(threading.enumerate()) - before) == ([], set())


@pytest.mark.parametrize("words", [["explain"], ["judge", "--nobody"], ["list", "--help"]])
def test_usage_is_told_before_the_import(words: list[str]) -> None:
    """A usage error and help end before what the command needs is imported."""
    code = f"import sys; from commands.__main__ import main; main({words!r})"
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ("usage:" in ended.stdout + ended.stderr, "policies.evaluate" in ended.stderr) == (True, False)


def test_the_dumper_writes_as_pyyamls() -> None:
    """Files in containers are written as PyYAML's SafeDumper writes them, whether libyaml is there or not."""
    files = [file for each in run(configuration()) for file in each.inputs.get("uploads", ())]
    texts = [file["content"] for file in files if file["file"].endswith((".yml", ".yaml"))]
    assert len(texts) > 8
    assert [yaml.safe_dump(yaml.safe_load(text), sort_keys=False, width=1000) for text in texts] == texts


def test_the_loader_reads_as_pyyamls() -> None:
    """The loader returns what PyYAML's SafeLoader returns."""
    text = FILE.read_text(encoding="utf-8")
    assert yaml.load(text, Loader=Loader) == yaml.safe_load(text)  # noqa: S506  # a safe loader
