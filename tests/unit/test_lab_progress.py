"""A run of Pulumi is shown in a few lines; the events were recorded from a run of the real engine."""

import io
from pathlib import Path

from lab.progress import Progress

RECORDED = Path(__file__).with_name("pulumi_events.jsonl")
"""Events of an update in which one command succeeded and one failed, without debug events and inputs."""


class Terminal(io.StringIO):
    """A screen on which a line can be written again."""

    def isatty(self) -> bool:
        """Say that it is a terminal."""
        return True


def shown(events: Path, screen: io.StringIO) -> str:
    """Return what a run with these events printed at its end."""
    Progress(label="pulumi up", events=events, screen=screen).end()
    return screen.getvalue()


def test_changes_and_problems_are_all_that_is_printed() -> None:
    """What changed is named, and a failed resource with its error and its own output; debug lines are not."""
    assert shown(RECORDED, io.StringIO()).splitlines() == [
        "  created 1: command good",
        "  warning: mind this",
        "  error: command bad: Unexpected <class 'RuntimeError'>: the command ended with status 3",
        "  output: command bad: command 1.2.1+stand-in: the lab's stand-in for Pulumi's command plugin",
        "    no luck",
        "  error: update failed",
    ]


def test_a_terminal_shows_what_is_waited_for(tmp_path: Path) -> None:
    """One line is written again and again; a half-written event waits for its rest."""
    lines = RECORDED.read_text().splitlines(keepends=True)
    started = next(number for number, line in enumerate(lines) if "Command::good" in line)
    events = tmp_path / "events"
    screen = Terminal()
    progress = Progress(label="pulumi up", events=events, screen=screen)
    events.write_text("".join(lines[: started + 1]) + lines[-1][:20])
    progress.look()
    assert screen.getvalue() == "\r\033[K  pulumi up: 0 done; waiting for rec-t, bad, good (0 s)"
    events.write_text("".join(lines))
    progress.end()
    assert "created 1: command good" in screen.getvalue()


def test_a_preview_says_what_an_update_would_do(tmp_path: Path) -> None:
    """Planned changes are named as such, by type where there are many."""
    step = '{"resOutputsEvent":{"planning":true,"metadata":{"op":"%s","urn":"urn:pulumi:t::p::%s::%s"}}}'
    rules = ("create", "proxmoxve:firewall/rulesLegacy:RulesLegacy")
    events = tmp_path / "events"
    planned = [
        *(step % (*rules, f"r{number}") for number in range(9)),
        step % ("update", "docker:index/container:Container", "loki"),
        step % ("same", "docker:index/network:Network", "backend"),
    ]
    events.write_text("\n".join(planned) + "\n")
    assert shown(events, io.StringIO()).splitlines() == [
        "  to create 9: 9 firewall rules",
        "  to update 1: container loki",
        "  unchanged 1",
    ]


def test_an_update_after_its_preview_is_read_from_its_beginning(tmp_path: Path) -> None:
    """Pulumi writes the file of events anew after the preview of an `up`, shorter or longer than it was."""
    prelude = '{"timestamp":%d,"preludeEvent":{"config":{}}}\n'
    step = '{"resOutputsEvent":{"planning":%s,"metadata":{"op":"create","urn":"urn:pulumi:t::p::%s::x"}}}\n'
    planned, done = (step % (planning, "docker:index/network:Network") for planning in ("true", "false"))
    events, screen = tmp_path / "events", io.StringIO()
    progress = Progress(label="pulumi up", events=events, screen=screen)
    events.write_text(prelude % 1 + planned * 5)
    progress.look()
    events.write_text(prelude % 2 + "\n".join(["{}"] * 200) + "\n" + done)
    progress.end()
    assert screen.getvalue() == "  created 1: network x\n"
