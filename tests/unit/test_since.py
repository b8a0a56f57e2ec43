"""What changed between two runs of the live probe is said in a few lines."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from commands import verify as command
from verify import since
from verify.report import ProbeReport, as_json
from verify.verdicts import ProbeFinding, Verdict

AGREES = Verdict.AGREES


def cell(to: str, got: str, verdict: Verdict = AGREES) -> ProbeFinding:
    """Return a question of grafana's."""
    return ProbeFinding(
        source="grafana", destination=to, what=f"grafana -> {to}:80/tcp", where="10.0.0.2 on query",
        expected="", got=got, verdict=verdict,
    )  # fmt: skip


def written(folder: Path, findings: Sequence[ProbeFinding]) -> Path:
    """Return the file of a run that ended at a known time."""
    file = folder / "verify-dev.json"
    file.write_text(as_json(ProbeReport(stack="dev", seconds=1.0, findings=findings)))
    os.utime(file, (1_800_000_000, 1_800_000_000))
    return file


def test_changed_answers_are_told_wrong_ones_first(tmp_path: Path) -> None:
    """Each changed answer is a line, and questions that are new or gone are counted."""
    before = [cell("loki", "DENIED (silent)"), cell("ui", "ALLOWED"), cell("gone", "ALLOWED")]
    after = [
        cell("ui", "DENIED (refused)"), cell("loki", "ALLOWED", Verdict.DISAGREES), cell("new", "ALLOWED"),
        cell("newer", "ALLOWED"),
    ]  # fmt: skip
    file = written(tmp_path, before)
    assert [*since.read(file, "dev").told(after, file)] == [
        "since the run of 2027-01-15 08:00 UTC: answers changed 2, new 2, no longer asked 1",
        "  ✗ grafana -> loki:80/tcp at 10.0.0.2 on query: ALLOWED, was DENIED",
        "  grafana -> ui:80/tcp at 10.0.0.2 on query: DENIED, was ALLOWED",
    ]


def test_a_denial_is_one_however_it_is_made(tmp_path: Path) -> None:
    """A connection that was refused and is dropped now is denied as before; without evidence it is not."""
    file = written(tmp_path, [cell("loki", "DENIED (refused)")])
    denied = cell("loki", "DENIED (silent)")
    same, unknown = ([*since.read(file, "dev").told([each], file)] for each in (
        denied, replace(denied, verdict=Verdict.INCONCLUSIVE),
    ))  # fmt: skip
    assert same == ["since the run of 2027-01-15 08:00 UTC: every answer is the same"]
    assert unknown[1:] == ["  ✗ grafana -> loki:80/tcp at 10.0.0.2 on query: inconclusive, was DENIED"]


def test_many_changes_are_a_few_lines(tmp_path: Path) -> None:
    """A terminal shows eight of them and where the rest is; a first run shows none."""
    file = written(tmp_path, [cell(f"s{number}", "ALLOWED") for number in range(30)])
    after = [cell(f"s{number}", "DENIED (silent)") for number in range(30)]
    lines = [*since.read(file, "dev").told(after, file)]
    assert (len(lines), lines[-1]) == (10, f"  and 22 more, in {file}")
    assert [*since.Earlier().told(after, file)] == []


def test_a_file_of_another_tool_holds_no_runs(tmp_path: Path) -> None:
    """A file without a stack's name is as none."""
    file = written(tmp_path, [cell("loki", "ALLOWED")])
    file.write_text(file.read_text().replace('"stack"', '"of"'))
    assert since.read(file, "dev") == since.Earlier()


def test_the_command_says_it_and_the_file_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make verify` ends with what differs from the file that it replaces, and writes it there."""
    file = written(tmp_path, [cell("loki", "DENIED (silent)")])
    done = ProbeReport(stack="dev", seconds=1.0, findings=[cell("loki", "ALLOWED")])
    monkeypatch.setattr(command, "_probed", lambda *_: done)
    assert command.main(["--json", str(file)]) == 0
    change = "grafana -> loki:80/tcp at 10.0.0.2 on query: ALLOWED, was DENIED"
    assert capsys.readouterr().out.splitlines()[-1] == f"  {change}"
    assert f'"changes": [\n  "{change}"\n ]' in file.read_text()
    assert command.main(["--json", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("every answer is the same")
