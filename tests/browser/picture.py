"""Writes docs/report.png, the dev stack's report down to its matrix: `python -m tests.browser.picture`.

Run as root where Chromium must be installed. Note: the fonts are the machine's, so two machines give two
pictures.
"""

import tempfile
from pathlib import Path

from lab import apt
from tests.browser.chromium import chromium
from tests.browser.samples import page
from topology.project import PROJECT

if __name__ == "__main__":
    apt.install("picture", {"chromium": "chromium"}, print)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        browser.open(page(Path(folder), PROJECT / "Pulumi.dev.yaml"), 1280, 900)
        browser.fit("document.querySelector('#matrix')")
        browser.picture(PROJECT / "docs" / "report.png", scale=0.75)
