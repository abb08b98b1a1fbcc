"""Does it run on this GPU, and how fast: ``python -m scripts.gpu_check``, within ten minutes on one device.

Virtual people; a training step of each arm in float32 and bfloat16 beside its arithmetic (how much of the device's rate
for large matrices it uses is 1 / "x floor"); both arms of the preset for some epochs; a training by ``torchrun`` that
is stopped after its first epoch and resumed; a network on the device and as a program of ``torch.export`` beside the
same on the CPU. Each is a command of its own with what is left of the time; what one prints is in ``logs/``, what
became of all of them in ``gpu_check.json`` and on the screen. A step that fails does not stop the others; then the exit
code is 1.

``--device cpu --preset small --people 12`` rehearses it without a GPU. Run it in the repository's root.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.networks.checkpoint import load_vae
from dxa_monai.networks.exported import loaded_program
from dxa_monai.runs.finished import FINISHED
from dxa_monai.runs.last_words import last_words
from dxa_monai.scan.csv_table import read_table
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.source import ScanSource
from dxa_monai.terminal import errors_as_sentence

ARMS = ("no_dxa", "energy_ratio")
SEED = 5
_MOST_DIFFERENT = {"cpu": 1e-5, "cuda": 2e-3}
"""Of reconstructions in [0, 1] by device and by CPU: matrix products of a GPU may be rounded to TensorFloat-32."""
_CONFIGS = "bundles/dxa_vae/configs"
_GRACE_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Attributes:
        step: its name.
        well: whether it did what it should.
        seconds: that it took.
        told: in words: what it measured, or why it failed.
        numbers: what it measured.
    """

    step: str
    well: bool
    seconds: float
    told: str
    numbers: dict[str, float] = field(default_factory=dict)


class GPUCheck:
    """All steps with what they share.

    Args:
        device: "cuda" or "cpu".
        preset: of ``dxa_vae``.
        people: of the virtual cohort.
        epochs: of the trainings.
        folder: of all that is written.
        minutes: for all steps together.
    """

    def __init__(self, device: str, preset: str, people: int, epochs: int, folder: Path, minutes: float) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError("device: expected a GPU that torch can use, got none; --device cpu rehearses without one.")
        self.device, self.preset, self.people, self.epochs = device, preset, people, epochs
        self.folder = output_folder(folder)
        output_folder(folder / "logs")
        self._end = time.monotonic() + 60.0 * minutes

    @property
    def _manifest(self) -> Path:
        return self.folder / "cohort" / "manifest.csv"

    @property
    def _left_s(self) -> float:
        return self._end - time.monotonic()

    def steps(self) -> dict[str, Callable[[], tuple[str, dict[str, float]]]]:
        """What is done, in this order: each says what it found, or raises InputError."""
        trainings = {f"train {arm}": lambda arm=arm: self._train(arm) for arm in ARMS}
        return {
            "people": self._make_people,
            "step": self._time_steps,
            **trainings,
            "resume": self._resume,
            "export": self._export,
        }

    def run(self) -> list[Outcome]:
        """Do all steps; print a line for each."""
        outcomes = []
        for name, step in self.steps().items():
            begun = time.monotonic()
            try:
                told, numbers = step()
                outcome = Outcome(name, True, time.monotonic() - begun, told, numbers)
            except InputError as error:
                outcome = Outcome(name, False, time.monotonic() - begun, str(error))
            outcomes.append(outcome)
            print(
                f"{'well  ' if outcome.well else 'FAILED'} {outcome.seconds:6.1f} s  {name}: {outcome.told}", flush=True
            )
        with atomic_path(self.folder / "gpu_check.json") as temporary:
            temporary.write_text(json.dumps(self._record(outcomes), indent=1) + "\n", encoding="utf-8")
        return outcomes

    def _record(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        name = torch.cuda.get_device_name() if self.device == "cuda" else "cpu"
        about = {"device": name, "torch": torch.__version__, "preset": self.preset, "people": self.people}
        return about | {"steps": [asdict(outcome) for outcome in outcomes]}

    def _environment(self) -> dict[str, str]:
        hidden = {} if self.device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
        return {**os.environ, "PYTHONWARNINGS": "ignore", **hidden}

    def _start(self, name: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        with self._log(name).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env=self._environment(),
                start_new_session=True,
            )

    def _command(self, name: str, words: Sequence[str]) -> None:
        """Run a command to its end."""
        if self._left_s <= 0.0:
            raise InputError(f"{name}: expected time to be left, got none.")
        process = self._start(name, words)
        try:
            code = process.wait(self._left_s)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{name}: expected it to end within the time, got no end; see logs/{name}.log.") from error
        finally:  # it is in a session of its own, which Ctrl-C does not reach
            _end_group(process)
        if code:
            said = last_words(self._log(name)) or "nothing"
            raise InputError(f"{name}: expected it to end well, got exit code {code}: {said}")

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _make_people(self) -> tuple[str, dict[str, float]]:
        count = ("--count", str(self.people), "--seed", str(SEED), "--save_meshes", "False")
        words = ("-m", "monai.bundle", "run", "--config_file", "configs/cohort.json", *count)
        self._command("people", (*words, "--output_dir", str(self._manifest.parent)))
        return f"{self.people} virtual people", {}

    def _time_steps(self) -> tuple[str, dict[str, float]]:
        batch = "32" if self.device == "cuda" else "2"
        words = ("-m", "benchmarks.training_step", "--preset", self.preset, "--device", self.device)
        log = self._log("step")
        begun = log.stat().st_size if log.is_file() else 0
        self._command("step", (*words, "--dtype", "all" if self.device == "cuda" else "float32", "--batch-size", batch))
        table = log.read_bytes()[begun:].decode("utf-8", "replace").splitlines()
        rows = [line.split() for line in table if line.startswith(self.preset)]
        if not rows:
            raise InputError("step: expected a table of steps, got none; see logs/step.log.")
        used = {f"used {row[1]} {row[2]}": 1.0 / float(row[11]) for row in rows if float(row[11]) > 0.0}
        scans = {f"scans/s {row[1]} {row[2]}": 1.0 / float(row[3]) for row in rows if float(row[3]) > 0.0}
        peak = max(float(row[12]) for row in rows)
        share = max(used.values(), default=0.0)
        return f"up to {100 * share:.0f} % of the matrix rate, {peak:.1f} GB; logs/step.log", used | scans

    def _training(self, name: str, arm: str, overlays: Sequence[str] = ()) -> list[str]:
        files = ["train.json", f"arm_{arm}.json", f"preset_{self.preset}.json", *overlays]
        given = {"manifest": self._manifest, "output_dir": self.folder / "runs" / name, "max_epochs": self.epochs}
        given |= {"resume": True}
        given |= {"backbone": "random", "num_workers": 0 if self.device == "cpu" else 4, "cache_rate": 1.0}
        given |= {"batch_size": 2} if self.device == "cpu" else {}
        # so few people have no more components
        given |= {"network_def#linear_channels": 0} if self.preset != "paper" else {}
        words = ["-m", "monai.bundle", "run", "--config_file", str([f"{_CONFIGS}/{file}" for file in files])]
        return [*words, *(word for key, value in given.items() for word in (f"--{key}", str(value)))]

    def _train(self, arm: str) -> tuple[str, dict[str, float]]:
        self._command(f"train_{arm}", self._training(arm, arm))
        last = self._metrics(arm)[-1]
        psnr = next((float(value) for name, value in last.items() if "psnr" in name), float("nan"))
        return f"{self.epochs} epochs, {psnr:.2f} dB on validation people", {"psnr_db": psnr}

    def _metrics(self, run: str) -> list[Mapping[str, str]]:
        path = self.folder / "runs" / run / "metrics.csv"
        return [row for _, row in read_table(path, ("epoch",))] if path.is_file() else []

    def _resume(self) -> tuple[str, dict[str, float]]:
        """One process of torchrun, stopped once its first epoch is over, and the same command again."""
        words = self._training("resumed", ARMS[0], ("multi_gpu_train.json",))
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1", *words]
        finished = self.folder / "runs" / "resumed" / FINISHED
        process = self._start("resume", words)
        try:
            while process.poll() is None and not self._metrics("resumed") and self._left_s > 0.0:
                time.sleep(0.2)
            stopped_after = len(self._metrics("resumed"))
        finally:
            _end_group(process)
        if finished.is_file() or not stopped_after:
            raise InputError(
                f"resume: expected it to be stopped after an epoch and before its end, got {stopped_after} epochs; see "
                "logs/resume.log."
            )
        self._command("resume", words)
        epochs = [int(float(row["epoch"])) for row in self._metrics("resumed")]
        if epochs != list(range(1, self.epochs + 1)) or not finished.is_file():
            raise InputError(f"resume: expected epochs 1 to {self.epochs}, got {epochs}.")
        return f"stopped after epoch {stopped_after}, went on to epoch {epochs[-1]}", {}

    def _export(self) -> tuple[str, dict[str, float]]:
        checkpoint, program = self.folder / "runs" / ARMS[0] / "best.pt", self.folder / "network.pt2"
        if not checkpoint.is_file():
            raise InputError(f"export: expected {checkpoint} of the training before, got no such file.")
        program.unlink(missing_ok=True)
        words = ("-m", "monai.bundle", "run", "--config_file", f"{_CONFIGS}/export.json")
        self._command("export", (*words, "--checkpoint", str(checkpoint), "--output", str(program)))
        scans = ScanSource().images(read_manifest(self._manifest)[:2])
        network = load_vae(checkpoint)
        with torch.no_grad():
            wanted = network.reconstruct(scans)
            on_device = network.to(self.device).reconstruct(scans.to(self.device)).cpu()
            exported = loaded_program(program)(scans)
        numbers = {
            "device": float((on_device - wanted).abs().max()),
            "exported": float((exported - wanted).abs().max()),
        }
        told = f"{self.device} differs by {numbers['device']:.1e} from cpu, the program by {numbers['exported']:.1e}"
        if numbers["device"] > _MOST_DIFFERENT[self.device] or numbers["exported"] > _MOST_DIFFERENT["cpu"]:
            raise InputError(f"export: expected the same reconstructions, got others: {told}.")
        return told, numbers


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask a command and all that it started to stop, as a scheduler does; what does not is killed."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@errors_as_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Check and exit with 1 if a step failed.

    Args:
        arguments: instead of those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--preset", choices=("small", "medium", "paper"), default="paper")
    parser.add_argument("--people", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.0, help="for all of it; default: 9")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/gpu_check"))
    chosen = parser.parse_args(arguments)
    folder = chosen.output_dir.absolute()
    try:
        check = GPUCheck(chosen.device, chosen.preset, chosen.people, chosen.epochs, folder, chosen.minutes)
        failed = [outcome.step for outcome in check.run() if not outcome.well]
    except KeyboardInterrupt:
        print("error: interrupted; the same command begins again.", file=sys.stderr)
        sys.exit(130)
    print(f"Record: {folder / 'gpu_check.json'}")
    if failed:
        sys.exit(f"error: {', '.join(failed)} failed.")


if __name__ == "__main__":
    main()
