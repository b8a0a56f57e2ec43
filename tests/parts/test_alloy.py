"""The configuration for Alloy, read by Alloy's own parser; Alloy itself can't be fetched or built here."""

import subprocess
from pathlib import Path

import pytest

from lab.toolchain import golang
from tests.policies.rejected import ALLOY, alloy, upload
from tests.policies.sound import sound

DOCUMENTED = {
    "logging": {"level"},
    "loki.source.file": {
        "targets",
        "legacy_positions_file",
        "forward_to",
        "file_match",
        "file_match enabled",
    },
    "loki.process": {
        "forward_to",
        "stage.json",
        "stage.json expressions",
        "stage.labels",
        "stage.labels values",
        "stage.docker",
        "stage.label_drop",
        "stage.label_drop values",
    },
    "loki.write": {
        "endpoint",
        "endpoint url",
        "endpoint tls_config",
        "endpoint tls_config ca_file",
        "endpoint tls_config cert_file",
        "endpoint tls_config key_file",
        "endpoint tls_config server_name",
        "endpoint tls_config min_version",
    },
}
"""Every block and attribute in use, from the reference of Alloy 1.18 (docs/sources/reference)."""


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program around Alloy's parser that prints what it parses."""
    program = tmp_path_factory.mktemp("alloy") / "alloy"
    golang.build("alloy", Path(__file__).with_name("alloy"), ".", program, flags=[], report=lambda _: None)
    return program


def read(parser: Path, text: str) -> tuple[int, set[str]]:
    """Return the parser's status, and every block and attribute."""
    done = subprocess.run([parser], input=text, capture_output=True, text=True, check=False)
    return done.returncode, {*done.stdout.splitlines()}


def written() -> str:
    """Return the configuration of a stack whose logs Alloy ships."""
    stack = sound()
    alloy(stack)
    return str(upload(stack, "promtail", ALLOY)["content"])


def test_the_configuration_is_alloys_language(parser: Path) -> None:
    """The configuration parses, and uses documented blocks and attributes only."""
    known = {f"{block} {word}" for block, words in DOCUMENTED.items() for word in words} | DOCUMENTED.keys()
    assert read(parser, written()) == (0, known)


@pytest.mark.parametrize(("old", "new"), [("enabled = true", "enabled true"), ("forward_to ", "forward-to ")])
def test_what_is_not_its_language_is_refused(parser: Path, old: str, new: str) -> None:
    """The parser rejects invalid configurations."""
    assert read(parser, written().replace(old, new)) == (1, set())
