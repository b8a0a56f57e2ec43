"""The report in a browser: two sizes, both themes, keyboard only, and no external requests."""

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from report import model
from tests.browser.chromium import Page
from tests.browser.samples import broken, hostile, page, run, state
from tests.site import FILE

SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
FOCUSED = "document.activeElement.closest('td')?.ariaLabel"


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return pages of the sound stack, of a broken one with a probe run, hostile names, a large site."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("sound", "broken", "hostile", "large")}
    run(folders["broken"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "_WHOLE", 8)
        large = page(folders["large"], FILE)
    return {
        "large": large,
        "sound": page(folders["sound"], FILE),
        "broken": page(folders["broken"], state(folders["broken"], broken())),
        "hostile": page(folders["hostile"], state(folders["hostile"], hostile())),
    }


def complaints(browser: Page) -> list[Any]:
    """Return the messages of the browser's console since the page was opened."""
    methods = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}
    return [event["params"] for event in browser.events if event["method"] in methods]


def requests(browser: Page) -> list[str]:
    """Return the URLs that the page requested."""
    return [
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]


@pytest.mark.parametrize("name", ["sound", "broken", "hostile", "large"])
@pytest.mark.parametrize(("size", "theme"), [*product(SIZES, ("light", "dark"))])
def test_the_page_is_whole_and_asks_nobody(
    name: str, size: str, theme: str, browser: Page, pages: dict[str, Path]
) -> None:
    """Each look has no console message, no request but the file, no sideways scroll, and readable texts."""
    browser.open(pages[name], *SIZES[size], dark=theme == "dark")
    assert requests(browser) == [pages[name].as_uri()]
    assert browser.run("document.documentElement.scrollWidth") == SIZES[size][0]
    browser.picture(pages[name].with_name(f"{size}-{theme}.png"))
    browser.fit()
    seen = browser.run(CONTRAST)
    assert seen["found"] == []
    assert seen["measured"] > (100 if name == "large" else 150)
    assert complaints(browser) == []


def test_texts_stay_in_their_boxes(browser: Page, pages: dict[str, Path]) -> None:
    """No name or address in the drawing is wider than the shape that it labels."""
    browser.open(pages["sound"], *SIZES["desktop"])
    over = (
        "[...document.querySelectorAll('#drawing g text')].filter(text => {"
        " const [inner, outer] = [text, text.parentElement.firstChild].map(each => each.getBBox());"
        " return inner.x + inner.width > outer.x + outer.width }).map(text => text.textContent)"
    )
    assert browser.run(over) == []
    assert browser.run("document.querySelectorAll('#drawing g text').length") > 40


def test_both_themes_are_there(browser: Page, pages: dict[str, Path]) -> None:
    """The page follows the reader's choice of light or dark."""
    paper = "getComputedStyle(document.body).backgroundColor"
    seen = []
    for dark in (False, True):
        browser.open(pages["sound"], *SIZES["desktop"], dark=dark)
        seen.append(browser.run(paper))
    assert seen == ["rgb(245, 246, 248)", "rgb(16, 21, 27)"]


def tab_to_the_matrix(browser: Page) -> None:
    """Press Tab until a cell has the focus."""
    for _ in range(10):
        browser.press("Tab")
        if browser.run(FOCUSED):
            return
    raise AssertionError("no cell is reached by Tab")


def test_a_keyboard_is_enough(browser: Page, pages: dict[str, Path]) -> None:
    """A keyboard alone leads from the top of the page to a cell, its reason, back to the cell, and on."""
    browser.open(pages["broken"], *SIZES["desktop"])
    tab_to_the_matrix(browser)
    browser.press("Home", *["ArrowRight"] * 6)
    cell = "internet to loki-gateway: denied; the probe agrees"
    assert browser.run(FOCUSED) == cell
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for opening in ("Enter", " "):
        browser.press(opening)
        assert browser.run("document.querySelector('dialog').matches(':modal')")
        assert browser.run("document.querySelector('dialog').innerText").splitlines()[:2] == [
            "internet → loki-gateway",
            "· 3100/tcp, any other port: denied",
        ]
        assert "no way: internet is on internet; loki-gateway is on query, backend" in browser.run(
            "document.querySelector('dialog').innerText"
        )
        browser.press("Escape")
        assert browser.run("document.querySelector('dialog').open") is False
        assert browser.run(FOCUSED) == cell
    browser.press("Tab")
    assert browser.run("document.activeElement.tagName") == "SUMMARY"


def test_the_matrix_is_one_tab_stop(browser: Page, pages: dict[str, Path]) -> None:
    """Arrow keys, Home and End move inside the grid and stop at its edges; one cell takes the focus."""
    browser.open(pages["sound"], *SIZES["desktop"])
    tab_to_the_matrix(browser)
    browser.press(*["ArrowUp"] * 3, "End", "ArrowRight", *["ArrowDown"] * 30)
    assert browser.run(FOCUSED) == "proxmox-srv to proxmox-srv: itself"
    browser.press("Enter")
    assert browser.run("document.querySelector('dialog').open") is False
    browser.press("ArrowLeft", "ArrowUp")
    assert browser.run(FOCUSED) == "docker-srv to docker-srv: itself"
    assert browser.run("document.querySelectorAll('[role=grid] [tabindex=\"0\"]').length") == 1


def test_a_touch_opens_a_cell(browser: Page, pages: dict[str, Path]) -> None:
    """On a phone the source names stay visible while the matrix scrolls, and a tap shows the trace."""
    browser.open(pages["broken"], *SIZES["phone"])
    column = "[...document.querySelectorAll('thead th')].findIndex(each => each.innerText == 'jellyfin')"
    cell = f"document.querySelectorAll('tbody tr')[2].cells[{column}]"
    browser.run(f"{cell}.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}})")
    assert browser.run("document.querySelector('.grid').scrollLeft") > 0
    assert 0 <= browser.run("document.querySelectorAll('tbody th')[2].getBoundingClientRect().x") < 20
    browser.tap(cell)
    said = browser.run("document.querySelector('dialog').innerText")
    assert "traefik → jellyfin" in said
    assert "undeclared-flows: expected DENIED, got ALLOWED via vlan20 -> jellyfin" in said
    assert browser.run("document.documentElement.scrollWidth") == SIZES["phone"][0]


def test_a_cell_shows_what_the_probe_saw(browser: Page, pages: dict[str, Path]) -> None:
    """The cell shows agreement and disagreement, also as text for screen readers."""
    browser.open(pages["broken"], *SIZES["desktop"])
    said = browser.run("[...document.querySelectorAll('td[aria-label]')].map(each => each.ariaLabel)")
    assert "internet to loki-gateway: denied; the probe agrees" in said
    assert "site-1 to site-2: denied; the probe disagrees" in said
    assert "promtail to loki-gateway: possible and declared; on 3100/tcp; the probe is inconclusive" in said


def asked(browser: Page, source: str, destination: str, port: str) -> list[str]:
    """Ask the page and return the lines of its answer."""
    browser.run(
        "(({from, to, port}) => {"
        " const choose = (list, name) => {"
        "  list.value = [...list.options].find(each => each.label === name).value };"
        f" choose(from, '{source}'); choose(to, '{destination}'); port.value = '{port}';"
        " from.form.requestSubmit() })(document.getElementById('ask').elements)"
    )
    return list(browser.run("document.getElementById('told').innerText").splitlines())


QUESTIONS = {
    ("internet", "grafana", "3000"): (
        "Yes: internet → grafana on 3000/tcp is possible through the ingress.",
        "http router grafana",
        "- traefik -> grafana:3000/tcp",
    ),
    ("prometheus", "cadvisor", "8080/TCP"): (
        "Yes: prometheus → cadvisor on 8080/tcp is possible and declared.",
        "neighbour: backend",
        "- prometheus -> cadvisor:8080/tcp",
    ),
    ("site-1", "site-2", "443"): (
        "No: site-1 → site-2 on 443/tcp is denied.",
        "output policy of site-1: DROP",
        "- site-1 -> site-2:443/tcp",
    ),
    ("internet", "loki", "22"): (
        "No: internet → loki on 22/tcp is denied.",
        "no way: internet is on internet; loki is on backend",
        "- traefik -> loki:22/tcp",
    ),
}


def test_a_large_site_is_shown_by_one_name(browser: Page, pages: dict[str, Path]) -> None:
    """Its matrix has few names around the chosen one, says how many there are, and each pair is answered."""
    browser.open(pages["large"], *SIZES["desktop"])
    rows = "document.getElementById('grid').rows.length - 1"
    assert browser.run(rows) == 8
    browser.run("only('jellyfin')")
    assert 1 < browser.run(rows) <= 8
    assert "the matrix has jellyfin and " in browser.run("document.getElementById('folded').innerText")
    for question, (said, _, _) in QUESTIONS.items():
        assert asked(browser, *question)[0] == said
    assert complaints(browser) == []


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_a_question_is_answered(
    browser: Page, pages: dict[str, Path], question: tuple[str, str, str]
) -> None:
    """The page says yes or no, what opens or denies it, and the line that would close or declare it."""
    said, why, line = QUESTIONS[question]
    browser.open(pages["sound"], *SIZES["desktop"])
    told = asked(browser, *question)
    assert (told[0], [each for each in told if why in each] != []) == (said, True), told
    assert browser.run("document.querySelector('#told code').textContent.trim()") == line
    assert complaints(browser) == []


def test_a_host_has_no_line_to_copy(browser: Page, pages: dict[str, Path]) -> None:
    """Where no flow can be declared, as from a host, no line is offered."""
    browser.open(pages["sound"], *SIZES["desktop"])
    assert asked(browser, "docker-srv", "site-1", "443")[0].startswith("No: docker-srv → site-1 on 443/tcp")
    assert browser.run("document.querySelectorAll('#told code').length") == 0
    assert asked(browser, "loki", "loki", "") == ["Both are the same."]


def test_the_line_is_copied(browser: Page, pages: dict[str, Path]) -> None:
    """The button beside a line puts it into the clipboard as the stack file has it, indented."""
    browser.open(pages["sound"], *SIZES["desktop"])
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    asked(browser, "traefik", "grafana", "3000")
    button = "document.querySelector('#told .line button')"
    browser.run(f"{button}.click()")
    done = f"new Promise(done => {{ const see = () => {button}.innerText === 'Copied' ? done(true) : "
    assert browser.run(f"{done}requestAnimationFrame(see); see(); }})")
    assert browser.run("navigator.clipboard.readText()") == "    - traefik -> grafana:3000/tcp\n"


def test_one_service_can_be_looked_at_alone(browser: Page, pages: dict[str, Path]) -> None:
    """A click on a box leaves it and its neighbours, in the matrix too; a second click ends that."""
    browser.open(pages["sound"], *SIZES["desktop"])
    clear = "[...document.querySelectorAll('#drawing .service:not(.faded)')].map(each => each.dataset.name)"
    heads = "[...document.querySelectorAll('#grid thead th')].slice(1).map(each => each.innerText)"
    everything = browser.run(heads)
    loki = "document.querySelector('#drawing [data-name=loki]')"
    click = f"{loki}.dispatchEvent(new Event('click', {{bubbles: true}}))"
    browser.run(click)
    assert sorted(browser.run(clear)) == sorted(browser.run(heads)) == ["loki", "loki-gateway"]
    browser.run("document.querySelectorAll('#grid tbody td')[1].click()")
    assert browser.run("document.querySelector('dialog h2').innerText") == "loki-gateway → loki"
    browser.press("Escape")
    browser.run(click)
    assert (browser.run(heads), browser.run("document.querySelectorAll('.faded').length")) == (everything, 0)


def test_a_phone_is_told_that_the_drawing_is_wider(browser: Page, pages: dict[str, Path]) -> None:
    """The sentence is there where the drawing scrolls, and not where it fits."""
    for size, shape in SIZES.items():
        browser.open(pages["sound"], *shape)
        drawing = "(it => it.scrollWidth > it.clientWidth)(document.getElementById('drawing'))"
        told = "document.querySelector('.swipe').checkVisibility()"
        assert browser.run(drawing) == browser.run(told) == (size == "phone")


def test_paper_has_every_list(browser: Page, pages: dict[str, Path]) -> None:
    """While it prints, every list is open, each possible connection included; then all is as it was."""
    browser.open(pages["broken"], *SIZES["desktop"])
    count = "document.querySelectorAll('#possible tbody tr').length"
    rows = browser.run(f"(dispatchEvent(new Event('beforeprint')), {count})")
    told = browser.run("document.getElementById('possible-title').textContent")
    assert told == f"Every possible connection as a list: {rows} rows"
    assert rows > 50
    assert browser.run("document.querySelectorAll('details:not([open])').length") == 0
    browser.run("dispatchEvent(new Event('afterprint'))")
    browser.call("Page.printToPDF", preferCSSPageSize=True)
    assert browser.run("document.querySelectorAll('details[open]').length") == 0


def test_markup_in_a_name_does_nothing(browser: Page, pages: dict[str, Path]) -> None:
    """A name that is markup is shown literally."""
    browser.open(pages["hostile"], *SIZES["desktop"])
    assert browser.run("[typeof window.broken, document.images.length]") == ["undefined", 0]
    assert "</script><img" in browser.run("document.querySelector('table').innerText")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace('"use strict";', '"use strict"; '), "Content Security Policy"),
        (lambda text: text.replace("</main>", "<img src=x.png></main>"), "Content Security Policy"),
    ],
    ids=["script", "image"],
)
def test_a_changed_page_is_complained_about(
    change: Callable[[str], str], complaint: str, browser: Page, pages: dict[str, Path], tmp_path: Path
) -> None:
    """The content policy stops a foreign script and every external resource, and the tests detect it."""
    file = tmp_path / "changed.html"
    file.write_text(change(pages["sound"].read_text()))
    browser.open(file, *SIZES["desktop"])
    browser.run("new Promise(done => setTimeout(done))")
    assert [each for each in complaints(browser) if complaint in str(each)]


def test_the_documents_picture_is_made_anew(browser: Page, tree: Path) -> None:
    """The command in docs/report.md writes the picture and no other file."""
    assert browser
    (tree / "docs" / "report.png").unlink()
    words = [sys.executable, "-m", "tests.browser.picture"]
    # The test's own temporary folder is too long a path for the browser's socket.
    done = subprocess.run(
        words,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tree / "docs" / "report.png").read_bytes().startswith(b"\x89PNG")
