"""The page in a real browser: mouse, keyboard, and the numbers that are then read from it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dxa_monai.errors import InputError
from dxa_monai.inference.body_composition import analyse_scans, collect_rows
from dxa_monai.landmarks.server import LandmarkServer
from scripts.devtools import Page, find_browser, open_page
from tests.landmarks.conftest import NAMES

try:
    BROWSER = find_browser()
except InputError:
    BROWSER = ""
pytestmark = pytest.mark.skipif(not BROWSER, reason="apt-get install chromium")
SHIFT, CONTROL = 8, 2


class Person:
    """Somebody in front of the page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def wait(self, expression: str) -> Any:
        """The value of a JavaScript expression, as soon as it is true."""
        end = time.monotonic() + 60.0
        while time.monotonic() < end:
            value = self.page.evaluate(expression)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"{expression} did not come true; problem: {self.text('#problem')!r}")

    def text(self, selector: str) -> str:
        return str(self.page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def numbers(self) -> dict[str, dict[str, float]]:
        """The table, as exact as it is in the page."""
        code = """JSON.stringify([...document.querySelectorAll('#regions tbody td')].map(cell =>
            [cell.parentNode.dataset.region, cell.dataset.quantity, Number(cell.dataset.value)]))"""
        table: dict[str, dict[str, float]] = {}
        for region, quantity, value in json.loads(self.page.evaluate(code)):
            table.setdefault(region, {})[quantity] = value
        return table

    def point(self, name: str) -> tuple[float, float]:
        """Where a point of the first picture is on the screen."""
        code = f"""(box => JSON.stringify([box.left + box.width / 2, box.top + box.height / 2]))(
            document.querySelector('[data-name={name}] circle').getBoundingClientRect())"""
        x, y = json.loads(self.page.evaluate(code))
        return x, y

    def mouse(self, kind: str, x: float, y: float, pressed: bool) -> None:
        about = {"button": "left", "buttons": int(kind != "mouseReleased")} if pressed else {"button": "none"}
        count = int(kind != "mouseMoved")
        self.page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, clickCount=count, **about)

    def drag(self, name: str, right: float, down: float) -> None:
        """Move a point by so many pixels of the screen."""
        x, y = self.point(name)
        self.mouse("mouseMoved", x, y, False)
        self.mouse("mousePressed", x, y, True)
        for share in (0.3, 0.7, 1.0):
            self.mouse("mouseMoved", x + share * right, y + share * down, True)
        self.mouse("mouseReleased", x + right, y + down, True)

    def key(self, key: str, modifiers: int = 0) -> None:
        codes = {"Tab": 9, "ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39, "z": 90, "s": 83}
        about = {"key": key, "windowsVirtualKeyCode": codes[key], "modifiers": modifiers}
        self.page.call("Input.dispatchKeyEvent", type="rawKeyDown", **about)
        self.page.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def click(self, selector: str) -> None:
        code = f"""(box => JSON.stringify([box.left + box.width / 2, box.top + box.height / 2]))(
            document.querySelector({json.dumps(selector)}).getBoundingClientRect())"""
        x, y = json.loads(self.page.evaluate(code))
        self.mouse("mousePressed", x, y, True)
        self.mouse("mouseReleased", x, y, True)

    def settled(self) -> dict[str, dict[str, float]]:
        """The numbers, when those of the points as they are now have come."""
        self.wait("document.getElementById('results').getAttribute('aria-busy') !== 'true' && !scans.get(current).from")
        return self.numbers()


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with open_page(BROWSER, (1500, 950)) as page:
        yield page


@pytest.fixture
def person(browser: Page, server: LandmarkServer) -> Iterator[Person]:
    browser.call("Page.navigate", url="about:blank")
    browser.call("Page.navigate", url=server.address)
    person = Person(browser)
    person.wait("document.querySelectorAll('#regions tbody tr').length > 10")
    yield person
    browser.evaluate("scans.clear()")  # or the browser asks whether what is not saved may be lost


def test_a_dragged_point_has_the_numbers_that_inference_then_writes(person: Person, run: Path) -> None:
    person.click("[data-number='1']")
    person.wait("document.getElementById('title').innerText === 'A01' && !document.getElementById('reset').hidden")
    written = json.loads((run / "A01.json").read_text())
    assert person.numbers() == written["regions"]
    person.drag("left_neck", 1.0, 20.0)
    assert "left neck: row" in person.text("#chosen")
    moved = person.settled()
    assert moved["head"]["mass_g"] > written["regions"]["head"]["mass_g"] + 50.0
    assert moved["total"] == written["regions"]["total"]
    told = f"+{moved['head']['mass_g'] - written['regions']['head']['mass_g']:.0f}"
    assert person.text("[data-region=head] [data-quantity=mass_g] small") == told
    assert person.text("[data-region=total] [data-quantity=mass_g] small") == ""
    assert "(not saved)" in person.page.evaluate(
        "getComputedStyle(document.querySelector('.unsaved'), '::after').content"
    )
    person.key("s", CONTROL)
    person.wait("document.getElementById('status').innerText.startsWith('Saved ')")
    assert f"--landmarks {run / 'landmarks'}" in person.text("#status")
    rows = collect_rows(run.parent / "study" / "manifest.csv")
    analyse_scans(rows, run, progress=False, landmarks_dir=run / "landmarks")
    assert json.loads((run / "A01.json").read_text())["regions"] == moved


def test_keyboard_undo_redo_and_reset(person: Person) -> None:
    found = person.numbers()
    person.page.evaluate("document.querySelector('[data-name=right_neck]').focus()")
    person.key("Tab")
    assert person.text("#chosen").startswith("left neck: row ")
    row, column = person.page.evaluate("scans.get(current).points.left_neck.join()").split(",")
    for key, modifiers in (("ArrowDown", 0), ("ArrowDown", SHIFT), ("ArrowRight", 0)):
        person.key(key, modifiers)
    now = person.page.evaluate("scans.get(current).points.left_neck.join()").split(",")
    assert [float(each) for each in now] == pytest.approx([float(row) + 2.25, float(column) + 0.25])
    moved = person.settled()
    assert moved["head"]["mass_g"] > found["head"]["mass_g"]
    person.key("z", CONTROL)  # three keys are one step
    assert person.settled() == found
    assert person.page.evaluate("document.getElementById('save').disabled")
    person.key("z", CONTROL | SHIFT)
    assert person.settled() == moved
    person.click("#reset")
    assert person.settled() == found
    person.click("#undo")
    assert person.settled() == moved


def test_impossible_points_are_told_and_cannot_be_saved(person: Person) -> None:
    before = person.numbers()
    person.drag("left_neck", 0.0, 300.0)
    person.wait("document.getElementById('problem').innerText.includes('expected left_neck above left_axilla')")
    assert person.page.evaluate("document.getElementById('save').disabled")
    assert person.numbers() == before
    person.key("z", CONTROL)
    person.wait("document.getElementById('problem').innerText === ''")


def test_a_name_that_is_html_stays_text(person: Person) -> None:
    assert person.text("#title") == NAMES[1]
    assert person.text("[data-number='0'] span") == NAMES[1]
    assert person.page.evaluate("document.title") == "Landmarks by hand"
    assert person.page.evaluate("document.images.length") == 0
    # and no script of anybody else runs
    person.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'ran = 1'}))")
    assert person.page.evaluate("typeof ran") == "undefined"


def test_every_control_has_a_name(person: Person) -> None:
    tree = person.page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "checkbox", "slider", "combobox", "searchbox", "textbox", "table"}
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
    controls = [(role, name) for role, name in named if role in roles]
    assert {role for role, _ in controls} >= {"button", "checkbox", "slider", "combobox", "table"}
    assert all(name for _, name in controls), controls
    assert any(name.startswith("left neck, row ") for _, name in named)
