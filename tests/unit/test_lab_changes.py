"""What `make preview` says last: the flows that open and close against the last `up`."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import __main__ as command
from lab.stack import Stack
from tests.site import FILE, PREFIX, changed

FLOWS = {
    "flows[traefik -> jellyfin:8096/tcp]": "<gone>",
    "unencrypted[traefik -> jellyfin:8096/tcp]": "<gone>",
    "flows[+]": "management -> vaultwarden:80/tcp",
    "services.loki.image": "homelab-lab/loki:3.6.2",
}


def told(config: dict[str, Any]) -> dict[str, Any]:
    """Return keys as `pulumi stack history --json` tells them."""
    return {
        f"{PREFIX}{key}": {"value": json.dumps(value), "objectValue": value, "secret": False}
        if isinstance(value, dict | list)
        else {"value": str(value).lower() if isinstance(value, bool) else value, "secret": False}
        for key, value in config.items()
    } | {"grafana:adminPassword": {"secret": True}}


def update(kind: str, result: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return one update of a history."""
    return {"kind": kind, "result": result, "config": told(config), "environment": {}}


@pytest.mark.parametrize(
    ("history", "there"),
    [
        ([], False),
        ([("refresh", "succeeded"), ("update", "failed"), ("update", "succeeded")], True),
        ([("destroy", "succeeded"), ("update", "succeeded")], False),
        ([("destroy", "failed"), ("update", "succeeded")], True),
    ],
)
def test_the_last_up_is_the_last_that_succeeded(
    monkeypatch: pytest.MonkeyPatch, history: list[tuple[str, str]], there: bool
) -> None:
    """Its keys are a stack file's, without secrets; after `down` and before the first `up` there are none."""
    answer = json.dumps([update(*each, changed(FLOWS)) for each in history])
    monkeypatch.setattr(Stack, "_ask", lambda *_, **__: answer)
    keys = Stack(name="dev", environment={}).last_config()
    assert bool(keys) == there
    if there:
        assert keys[f"{PREFIX}flows"] == changed(FLOWS)["flows"]
        assert (keys[f"{PREFIX}protect"], keys["grafana:adminPassword"]) == (False, {"secure": ""})


def preview(monkeypatch: pytest.MonkeyPatch, folder: Path, before: dict[str, Any]) -> None:
    """Print what a preview of the sound site prints last; `before` are the keys of the last `up`."""
    (folder / "Pulumi.dev.yaml").write_bytes(FILE.read_bytes())
    monkeypatch.setattr(command, "environment", lambda _: {})
    monkeypatch.setattr(command, "stack_file", lambda _: folder / "Pulumi.dev.yaml")
    secrets: dict[str, Any] = {key: {"secure": ""} for key in ("grafana:adminPassword", "traefik:users")}
    keys = {f"{PREFIX}{key}": value for key, value in before.items()}
    command.changes("dev", keys | secrets if keys else {})


def test_a_preview_ends_with_what_opens_and_closes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A route is told with the ingress, other flows as declared, and then what a review tells first."""
    preview(monkeypatch, tmp_path, yaml.safe_load(json.dumps(changed(FLOWS))))
    assert capsys.readouterr().out.splitlines() == [
        "against the last `up`:",
        "  opens: internet -> jellyfin, by traefik (traefik -> jellyfin:8096/tcp)",
        "  closes: management -> vaultwarden:80/tcp",
        "  loki runs homelab-lab/loki:3.6.3 instead of homelab-lab/loki:3.6.2",
    ]


def test_the_first_preview_opens_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first `up` every declared flow opens, and no line is there twice."""
    preview(monkeypatch, tmp_path, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "against the last `up`:"
    assert len(lines) == len(set(lines)) == 1 + len(changed({})["flows"])
    assert {line.partition(": ")[0] for line in lines[1:]} == {"  opens"}


def test_keys_of_another_version_end_no_preview(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where this version can't read the last stack file, the preview says so."""
    preview(monkeypatch, tmp_path, {**changed({}), "colour": "red"})
    said = capsys.readouterr().out
    assert "what opens and closes is unknown" in said
    assert "colour: unknown key" in said
