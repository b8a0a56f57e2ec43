"""What more than one file of unit tests needs."""

from pathlib import Path

import pytest


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the dev stack names for whoever signed the sites' certificates; nobody checks with it."""
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls/ca.crt").write_text("PEM")
    monkeypatch.setenv("HOMELAB_STATE", str(tmp_path))
