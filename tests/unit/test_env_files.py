"""Files with variables are read as Compose reads them; what Compose would change is refused."""

from pathlib import Path

import pytest

from tests.policies.words import site
from topology import env_files
from topology.config import load
from topology.env_files import EnvFileError, faults, variables
from topology.model import Container

CANARY = "canary-0f3a9c5e71"


def container(*files: Path, **environment: str) -> Container:
    """Return a container with files of variables."""
    paths = [str(file) for file in files]
    found = load(site(**{"services.names.env_file": paths, "services.names.environment": environment}))
    service = found.services["names"]
    assert isinstance(service, Container)
    return service


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=b", {"A": "b"}),
        ("A=b\r\nB=c\r\n", {"A": "b", "B": "c"}),
        ("\ufeffA=b\n", {"A": "b"}),
        ("# x\n\n  # y\nA = b # c\n", {"A": "b"}),
        ("A=b#c\n", {"A": "b#c"}),
        ("export A=b c \n", {"A": "b c"}),
        ("A=\nB=\n", {"A": "", "B": ""}),
        ("A=b=c=\n", {"A": "b=c="}),
        ("A='$b # \"c\"' # d\n", {"A": '$b # "c"'}),
        ("A='b\nc'\nB=d", {"A": "b\nc", "B": "d"}),
        ("A='it\\'s'\n", {"A": "it's"}),
        ('A="b\\nc \\"d\\" \\$e \\\\"\n', {"A": 'b\nc "d" $e \\'}),
        ('A="b # c"\nB="d"', {"A": "b # c", "B": "d"}),
        ("A=b\nA=c\n", {"A": "c"}),
        ("", {}),
    ],
)
def test_what_compose_reads_is_read(tmp_path: Path, text: str, found: dict[str, str]) -> None:
    """Quotes, comments, escapes and lines are those of Compose."""
    file = tmp_path / "x.env"
    file.write_text(text, encoding="utf-8", newline="")
    assert variables(container(file)) == found


@pytest.mark.parametrize(
    "text",
    [
        f"A=$HOME/{CANARY}",
        f"A=${{X:-{CANARY}}}",
        f'A="{CANARY} $X"',
        f'A="{CANARY} \\x"',
        f"A='{CANARY}",
        f'A="{CANARY}',
        f"A='{CANARY}'x",
        f"A=#{CANARY}",
        f"A=`{CANARY}`",
        f"{CANARY}",
        f"A: {CANARY}",
        f"1A={CANARY}",
        f"A B={CANARY}",
        f"A.B={CANARY}",
        f"={CANARY}",
        f"A={CANARY}\0",
    ],
)
def test_what_compose_would_change_is_refused(tmp_path: Path, text: str) -> None:
    """A value that Compose would replace, or not read, is refused with file and line, and not repeated."""
    file = tmp_path / "x.env"
    file.write_text(f"# first\nB=c\n{text}\n", encoding="utf-8")
    (line,) = faults({"names": container(file)})
    assert line.startswith(f"services.names.env_file[0]: {file} line 3 ")
    assert line.endswith(".")
    assert CANARY not in line


def test_a_later_file_and_the_stack_file_count(tmp_path: Path) -> None:
    """A later file replaces a variable of an earlier one, and `environment` one of any file."""
    first, second = tmp_path / "a.env", tmp_path / "b.env"
    first.write_text("A=1\nB=1\nC=1\n")
    second.write_text("B=2\nC=2\n")
    assert variables(container(first, second, C="3")) == {"A": "1", "B": "2"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is missing, no file, or no text is one line each."""
    (tmp_path / "x.env").write_bytes(b"A=\xff")
    service = container(tmp_path / "none.env")
    with pytest.raises(EnvFileError, match=r"none\.env cannot be read \(No such file or directory\)"):
        variables(service)
    assert len([*faults({"names": container(tmp_path)})]) == 1
    assert "is not UTF-8 text" in next(faults({"names": container(tmp_path / "x.env")}))


def test_a_relative_path_starts_at_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is one beside the stack file, in any working directory."""
    (tmp_path / "x.env").write_text("A=b")
    monkeypatch.setattr(env_files, "PROJECT", tmp_path)
    assert variables(container(Path("x.env"))) == {"A": "b"}
