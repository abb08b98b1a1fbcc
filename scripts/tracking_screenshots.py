"""Pictures of MLflow's pages for docs/tracking.md: ``python -m scripts.tracking_screenshots``.

Starts ``mlflow ui`` on a free port of this machine and drives a headless Chromium (Debian: ``apt install chromium``).
Without ``--tracking_uri`` it first makes a small tracked comparison: two arms of the DXA-VAE with two seeds.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.terminal import errors_as_sentence
from dxa_monai.tracking.server import check_tracking_uri
from scripts.devtools import Page, find_browser, open_page

REPOSITORY = Path(__file__).parents[1]
WINDOW = (1400, 800)
ASIDE = '[data-component-id="mlflow.assistant.chat_panel.close"]'
"""Closes the panel that covers a third of every page."""
UNFOLD = '[data-component-id*="runnamecellrenderer"]'
"""Shows the runs below a run."""
START_SECONDS = 120


@errors_as_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Make the pictures and say where they are.

    Args:
        arguments: instead of those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracking_uri", default="", help="sqlite:///path/mlflow.db; by default one is made")
    parser.add_argument("--experiment", default="dxa_vae", help="of the runs; default: dxa_vae")
    parser.add_argument("--filter", default="", help="runs to compare, as in MLflow's search box")
    parser.add_argument("--metric", default="best_validation_psnr_db", help="to compare the arms by")
    parser.add_argument("--output_dir", default=REPOSITORY / "docs" / "images", type=Path)
    chosen = parser.parse_args(arguments)
    with ExitStack() as stack:
        check_tracking_uri(chosen.tracking_uri)
        browser = find_browser()
        uri = chosen.tracking_uri or small_comparison(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        pages = pages_of(uri, chosen.experiment, chosen.filter, chosen.metric)
        server = stack.enter_context(mlflow_ui(uri))
        page = stack.enter_context(open_page(browser, WINDOW))
        for name, address in pages.items():
            path = output_folder(chosen.output_dir) / f"tracking_{name}.png"
            print(picture(page, server + address, path, (ASIDE, UNFOLD) if name == "runs" else (ASIDE,)))


def small_comparison(folder: Path) -> str:
    """Train two arms with two seeds on twenty virtual people, small enough for minutes; returns the tracking uri."""
    run = [sys.executable, "-m", "monai.bundle", "run", "--config_file"]
    cohort, uri = folder / "cohort", f"sqlite:///{folder}/mlflow.db"
    compare = {
        "dataset_dir": cohort,
        "output_dir": folder / "runs",
        "arms": "{'no_dxa': {'overlay': 'arm_no_dxa.json'}, 'dxa_masked': {'overlay': 'arm_dxa_masked.json'}}",
        "seeds": "[0, 1]",
        "overrides": "{'max_epochs': 3}",
        "components": 4,
        "tracking_uri": uri,
    }
    options = [text for name, value in compare.items() for text in (f"--{name}", str(value))]
    steps = [
        [*run, "configs/cohort.json", "--count", "20", "--output_dir", str(cohort)],
        [*run, "bundles/dxa_vae/configs/compare.json", *options],
    ]
    for step in steps:
        subprocess.run(step, cwd=REPOSITORY, check=True, stdout=sys.stderr)
    return uri


def pages_of(uri: str, experiment: str, chosen: str, metric: str) -> dict[str, str]:
    """Addresses of the pages by the name of their picture, below the server's.

    Raises:
        InputError: there is no such experiment, or fewer than two finished trainings in it.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise InputError(f"{uri}: expected an experiment '{experiment}', got none of this name.")
    condition = "attributes.status = 'FINISHED'" + (f" and {chosen}" if chosen else "")
    runs = [
        run
        for run in client.search_runs([found.experiment_id], condition, order_by=["attributes.start_time ASC"])
        if metric in run.data.metrics
    ]
    if len(runs) < 2:
        raise InputError(f"{uri}: expected at least two finished runs with {metric}, got {len(runs)}.")
    root = f"/#/experiments/{found.experiment_id}"
    ids, experiments = quote(json.dumps([run.info.run_id for run in runs])), quote(json.dumps([found.experiment_id]))
    return {
        "runs": f"{root}/runs?viewMode=TABLE",
        "compare": f"/#/compare-runs?runs={ids}&experiments={experiments}",
        "curves": f"{root}/runs/{runs[-1].info.run_id}/model-metrics",
    }


def picture(page: Page, address: str, path: Path, clicks: Sequence[str] = ()) -> Path:
    """Show an address, wait until the page stands still, press what the selectors find, and write what is seen."""
    page.call("Page.navigate", url="about:blank")
    page.call("Page.navigate", url=address)
    until_still(lambda: page.evaluate("document.body ? document.body.innerText : ''"))
    for selector in clicks:
        # the newest comparison alone, or the table would be longer than the picture
        page.evaluate(f"document.querySelector({json.dumps(selector)})?.click()")
    if clicks:
        until_still(lambda: page.evaluate("document.body.innerText"), seconds=15.0)
    with atomic_path(path) as temporary:
        temporary.write_bytes(base64.b64decode(page.call("Page.captureScreenshot", format="png")["data"]))
    return path


def until_still(look: Callable[[], Any], seconds: float = 60.0, still_seconds: float = 4.0) -> None:
    """Return when what is seen is not empty and has not changed for a while, at the latest after ``seconds``."""
    begun = changed = time.monotonic()
    last: Any = None
    while time.monotonic() - begun < seconds:
        seen = look()
        if seen != last:
            last, changed = seen, time.monotonic()
        elif seen and time.monotonic() - changed > still_seconds:
            return
        time.sleep(0.25)


@contextmanager
def mlflow_ui(uri: str) -> Iterator[str]:
    """The address of a server of MLflow's pages that lives as long as the block.

    Raises:
        InputError: it does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", port]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, "--workers", "1"], stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() - begun < START_SECONDS:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise InputError(f"{address}: expected mlflow ui to answer within {START_SECONDS} s, got nothing.")


if __name__ == "__main__":
    main()
