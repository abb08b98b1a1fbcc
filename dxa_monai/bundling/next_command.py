"""The command that a user will want next, with the paths of what was just made."""

from __future__ import annotations

from pathlib import Path

import ignite.distributed as idist
from monai.bundle import ConfigWorkflow

from dxa_monai.bundling.callers import caller_of_type
from dxa_monai.shell_words import as_typed


def tell_evaluation(folder: str | Path, arm: str, manifest: str | Path) -> None:
    """Print how to evaluate the best network of a training, by ``evaluate.json`` beside the config that runs.

    To be called by an expression of the config, last. Silent where there is no such network, config or manifest, and
    where the config was not read by MONAI's ``run`` (a training of a comparison, which evaluates by itself).

    Args:
        folder: of the training.
        arm: what the network shall be called.
        manifest: whose people were trained on and held out.
    """
    workflow = caller_of_type(ConfigWorkflow)
    if workflow is None or idist.get_rank() != 0:
        return
    config, best = Path(workflow.config_root_path) / "evaluate.json", Path(folder) / "best.pt"
    if not (config.is_file() and best.is_file() and Path(manifest).is_file()):
        return
    words = ["python", "-m", "monai.bundle", "run", "--config_file", str(config), "--manifest", str(manifest)]
    words += ["--arms", str({arm: str(best)}), "--output_dir", f"{folder}_evaluation"]
    print(f"next, on the people held out: {as_typed(words)}")
