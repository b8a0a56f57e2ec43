"""The default stack file with any declarations: it loads, and the pack accepts it."""

import re

import yaml

from lab.images.catalogue import IMAGES
from policies.evaluate import evaluate
from tests.policies.sound import TODAY, run
from tests.site import own
from topology.config import from_file
from topology.project import PROJECT

FILE = PROJECT / "Pulumi.dev.yaml"
TEXT = FILE.read_text(encoding="utf-8")


def test_the_pack_accepts_it() -> None:
    """The program's resources for the file have no finding."""
    config = own(yaml.safe_load(TEXT)["config"])
    assert evaluate(run(config), from_file(FILE), TODAY).findings == ()


def test_the_lab_has_its_images() -> None:
    """Each lab image that the file names is in the lab's catalogue."""
    named = set(re.findall(r"image: (homelab-lab/\S+)", TEXT))
    assert named - {one.tag for one in IMAGES} == set()
