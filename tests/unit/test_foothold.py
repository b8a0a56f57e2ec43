"""What a shell in a container can reach: the table in the docs and the table of a live run."""

import json
from pathlib import Path

import pytest

from commands import foothold as command
from tests.policies.words import site
from tests.site import FILE
from topology.project import PROJECT
from verify import foothold


def cell(source: str, what: str, got: str = "ALLOWED", where: str = "there") -> dict[str, str]:
    """Return a cell of a run, with the fields that the table reads."""
    to = what.partition(":")[0]
    return {"source": source, "destination": to, "what": f"{source} -> {what}", "got": got, "where": where}


def test_the_table_in_the_docs_is_current() -> None:
    """docs/hardening.md has the command's output."""
    text = (PROJECT / "docs" / "hardening.md").read_text(encoding="utf-8")
    assert "\n".join(foothold.table(FILE)) in text


def test_the_backend_is_behind_no_foothold_in_the_ingress() -> None:
    """A shell in the ingress reaches no backend service, and can read only the ingress's key and logins."""
    (line,) = (line for line in foothold.table(FILE) if line.startswith("| traefik "))
    assert [name for name in ("loki", "prometheus:", "cadvisor", "node-exporter") if name in line] == []
    assert line.endswith("| `/etc/traefik/tls/key.pem`, `/etc/traefik/users` |")


def test_a_secret_variable_is_told_by_its_name(tmp_path: Path) -> None:
    """A container's secrets are the paths of files and the names of variables, never a value."""
    config = site()
    keys = {f"homelab-network:{key}": value for key, value in config.items()}
    secrets = ("grafana:adminPassword", "traefik:users", "wiki:db-password", "wiki:session")
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(json.dumps({"config": {**keys, **{key: {"secure": "x"} for key in secrets}}}))
    (line,) = (line for line in foothold.table(file) if line.startswith("| wiki "))
    assert line.endswith("| `/run/secrets/session`, `$DB_PASS` |")


def test_a_run_is_told_in_the_same_form(tmp_path: Path) -> None:
    """Only opened ports count, not denials, pages or echoes; `*` replaces a destination's single ports."""
    cells = [
        cell("traefik", "site-1:443/tcp"),
        cell("traefik", "loki:3100/tcp", "DENIED"),
        cell("traefik", "grafana:3000/tcp"),
        cell("traefik", "grafana:*/tcp"),
        cell("traefik", "https, a page", where=""),
        cell("traefik", "site-2:icmp"),
    ]
    run = tmp_path / "run.json"
    run.write_text(json.dumps({"cells": cells}))
    lines = list(foothold.table(FILE, run))
    assert next(line for line in lines if line.startswith("| traefik ")).startswith(
        "| traefik | grafana:*, site-1:443/tcp | "
    )
    assert "| cadvisor | nobody | no secret |" in lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run", "missing.json"], "missing.json: No such file or directory; name a run"),
        (["--run", "other.json"], "other.json: is no run as JSON; name one"),
        (["--stack", "nobody"], "Pulumi.nobody.yaml: cannot be read"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bad input ends with exit code 2 and one line that names the mistake."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text("[]")
    assert command.main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith(said), err.count("\n")) == ("", True, 1)
