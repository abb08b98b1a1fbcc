"""The picture of the page for landmarks in docs/images: ``python -m scripts.landmarks_screenshot FOLDER``.

FOLDER is an output folder of the body-composition inference. Drives a headless Chromium (Debian: ``apt install
chromium``), drags the left end of the neck line of the first scan down, and saves nothing in the folder.
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path
from dxa_monai.landmarks.folder import LandmarkFolder
from dxa_monai.landmarks.server import LandmarkServer
from dxa_monai.terminal import errors_as_sentence
from scripts.devtools import Page, find_browser, open_page

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "landmarks.png"
WINDOW = (1500, 950)
POINT, DOWN_PX = "left_neck", 12
WAIT_S = 60.0


@errors_as_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Make the picture and say where it is.

    Args:
        arguments: instead of those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="output folder of the body-composition inference")
    parser.add_argument("--output", default=PICTURE, type=Path)
    parser.add_argument("--dark", action="store_true", help="as browsers show it that prefer dark pages")
    chosen = parser.parse_args(arguments)
    browser = find_browser()
    with LandmarkServer(LandmarkFolder(chosen.folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with open_page(browser, WINDOW) as page:
            scheme = {"name": "prefers-color-scheme", "value": "dark" if chosen.dark else "light"}
            page.call("Emulation.setEmulatedMedia", features=[scheme])
            page.call("Page.navigate", url=server.address)
            _wait(page, "document.querySelectorAll('#regions tbody tr').length")
            _drag(page)
            _wait(page, "document.querySelectorAll('#regions small.up').length")
            content = page.call("Page.captureScreenshot", format="png")["data"]
        server.shutdown()
    with atomic_path(chosen.output) as temporary:
        temporary.write_bytes(base64.b64decode(content))
    print(chosen.output)


def _drag(page: Page) -> None:
    code = f"""(box => JSON.stringify([box.left + box.width / 2, box.top + box.height / 2]))(
        document.querySelector('[data-name={POINT}] circle').getBoundingClientRect())"""
    x, y = json.loads(page.evaluate(code))
    for kind, down in (("mousePressed", 0), ("mouseMoved", DOWN_PX), ("mouseReleased", DOWN_PX)):
        buttons, clicks = int(kind != "mouseReleased"), int(kind != "mouseMoved")
        page.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y + down, button="left", buttons=buttons, clickCount=clicks
        )


def _wait(page: Page, expression: str) -> None:
    end = time.monotonic() + WAIT_S
    while not page.evaluate(expression):
        if time.monotonic() > end:
            raise InputError(f"{expression}: expected to come true within {WAIT_S:g} s, got nothing.")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
