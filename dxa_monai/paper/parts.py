"""Parts of the paper, each run as a command of its own: what they cost, what became of them, where they went on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.input_files import read_object
from dxa_monai.paper.plan import Part
from dxa_monai.runs.finished import FINISHED
from dxa_monai.runs.interruption import ending_as_exit
from dxa_monai.runs.last_words import last_words
from dxa_monai.shell_words import as_typed

RECORD_NAME = "parts.json"
LOGS = "logs"
FINISHED_PART, FAILED, NOT_RUN = "finished", "failed", "not run"

_LOOK_SECONDS = 1.0
_KIBIBYTE = 1024


@dataclass(frozen=True)
class Outcome:
    """What became of a part.

    Attributes:
        state: ``finished``, ``failed`` or ``not run``.
        command: that runs it alone.
        digest: of what its results depend on.
        seconds: it took, all its calls together.
        peak_bytes: memory of its largest process.
        reason: why it has no results.
    """

    state: str
    command: str
    digest: str
    seconds: float = 0.0
    peak_bytes: int = 0
    reason: str = ""


def read_outcomes(folder: str | Path) -> dict[str, Outcome]:
    """What is recorded in a folder of the paper, by part.

    Raises:
        InputError: the record cannot be read.
    """
    path = Path(folder) / RECORD_NAME
    if not path.exists():
        return {}
    expected = "what became of the paper's parts"
    try:
        return {name: Outcome(**entry) for name, entry in read_object(path, expected).items()}
    except TypeError as error:
        raise InputError(f"{path}: expected {expected}, got '{error}'.") from error


def run_parts(parts: Sequence[Part], chosen: Sequence[str], folder: str | Path) -> dict[str, Outcome]:
    """Run parts one after another; one that is finished is left as it is, one that fails stops those that need it.

    Args:
        parts: in an order in which none needs a later one.
        chosen: names of those that are run.
        folder: gets ``parts.json`` and ``logs/``.

    Returns:
        What became of each part that was run, now or earlier with the same settings.

    Raises:
        InputError: the record cannot be read or written.
    """
    folder = output_folder(folder)
    logs = output_folder(folder / LOGS)
    recorded = read_outcomes(folder)
    outcomes = {part.name: recorded[part.name] for part in parts if _is_of(part, recorded.get(part.name))}
    done = {part.name for part in parts if part.name in outcomes and outcomes[part.name].state == FINISHED_PART}
    asked = [part for part in parts if part.name in chosen]
    left = [part for part in asked if part.name not in done]
    total = sum(part.minutes for part in asked)
    begun = total - sum(part.minutes for part in left)
    # smoothing 0: the time left follows from all that was done so far, not from the last part's pace
    shown = {"desc": "paper", "bar_format": _BAR, "smoothing": 0, "file": sys.stderr}
    with tqdm(total=total, initial=begun, **shown) as bar, ending_as_exit():
        for part in left:
            command = f"{Path(sys.executable).name} {as_typed(part.arguments())}"
            spent = outcomes[part.name].seconds if part.name in outcomes else 0.0
            missing = [need for need in part.needs if need not in done]
            if missing:
                outcome = Outcome(NOT_RUN, command, part.digest(), spent, reason=f"it needs {' and '.join(missing)}")
            else:
                bar.set_postfix_str(part.name)
                outcome = _run(part, logs / f"{part.name}.log", command, spent, bar)
            if outcome.state == FINISHED_PART:
                done.add(part.name)
            outcomes[part.name] = outcome
            _record(folder, recorded | outcomes)
            if outcome.reason:
                tqdm.write(f"{part.name}: {outcome.state}; {outcome.reason}", file=sys.stderr)
    return outcomes


_BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"


def _is_of(part: Part, outcome: Outcome | None) -> bool:
    """Whether an outcome is of the same settings, and its results, if it had some, are still there."""
    if outcome is None or outcome.digest != part.digest():
        return False
    return outcome.state != FINISHED_PART or not _missing(part)


def _missing(part: Part) -> list[str]:
    return [name for name in part.outputs if not (part.folder / name).is_file()]


def _run(part: Part, log: Path, command: str, spent: float, bar: tqdm[Any]) -> Outcome:
    """Run a part in a process of its own, so that its memory is known and its end is its own."""
    begun, shown = time.monotonic(), 0.0
    with open(log, "a", encoding="utf-8") as output:
        output.write(f"\n{command}\n")
        output.flush()
        start = output.tell()
        process = subprocess.Popen(
            [sys.executable, *part.arguments()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches it once, from here
        )
        try:
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                share = _share_done(part)
                bar.update(max(0.0, share * part.minutes - shown))
                bar.refresh()  # else the time stands still between two pieces
                shown = max(shown, share * part.minutes)
                time.sleep(_LOOK_SECONDS)
        except BaseException as error:
            number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
            tqdm.write(f"{part.name}: asked to stop; what it has is kept, the same command goes on", file=sys.stderr)
            process.send_signal(number)
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    bar.update(part.minutes - shown)
    seconds, peak_bytes = spent + time.monotonic() - begun, usage.ru_maxrss * _KIBIBYTE
    missing = _missing(part)
    well = process.returncode == 0 and not missing
    reason = "" if well else _reason(process.returncode, log, start, missing)
    return Outcome(FINISHED_PART if well else FAILED, command, part.digest(), seconds, peak_bytes, reason)


def _share_done(part: Part) -> float:
    """Of a part that is running: people, finished trainings; pictures and tables take what is left."""
    pieces, pattern = (part.trainings, f"*/{FINISHED}") if part.trainings else (part.people, "scans/*.npy")
    if not pieces:
        return 0.0
    return min(1.0, sum(1 for _ in part.folder.glob(pattern)) / pieces) * 0.9


def _reason(code: int, log: Path, start: int, missing: Sequence[str]) -> str:
    """One sentence on why a command has no results, from what it printed behind ``start``."""
    if code < 0:
        name = signal.Signals(-code).name
        why = "most often for want of memory" if name == "SIGKILL" else "from outside"
        return f"{log}: the command was ended by {name}, {why}."
    if code == 0:
        return f"{log}: the command ended well and did not write {', '.join(missing)}."
    return last_words(log, start) or f"{log}: the command ended with exit code {code} and said nothing."


def _record(folder: Path, outcomes: Mapping[str, Outcome]) -> None:
    with atomic_path(folder / RECORD_NAME) as temporary:
        content = {name: asdict(outcome) for name, outcome in outcomes.items()}
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
