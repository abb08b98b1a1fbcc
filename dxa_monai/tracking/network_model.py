"""A trained network as an MLflow model, which the snippet that MLflow's page shows loads without this project."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from dxa_monai.networks.checkpoint import load_network
from dxa_monai.networks.exported import exportable
from dxa_monai.transforms.point_clouds import CLOUD_POINTS

MODEL_NAME = "model"
"""Of the model in a run: ``runs:/RUN_ID/model``."""


def save_network_model(checkpoint: str | Path, folder: str | Path, points: int = CLOUD_POINTS) -> Path:
    """Write a checkpoint as an MLflow model: a program of ``torch.export``, without pickle, and its signature.

    What goes in and comes out is that of :func:`dxa_monai.networks.exported.exportable`.

    Args:
        checkpoint: by :func:`dxa_monai.networks.checkpoint.save_network`.
        folder: gets ``model/``.
        points: of each body, for a mesh-to-scan network.

    Returns:
        The folder of the model.

    Raises:
        InputError: the checkpoint is none.
    """
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    of = exportable(load_network(checkpoint), points)
    with torch.no_grad():
        output = of.module(of.example)
    inputs, outputs = (
        Schema([TensorSpec(np.dtype(np.float32), (-1, *each.shape[1:]))]) for each in (of.example, output)
    )
    target = Path(folder) / MODEL_NAME
    mlflow.pytorch.save_model(
        of.module,
        target,
        input_example=of.example,
        signature=ModelSignature(inputs, outputs),
        serialization_format="pt2",
        pip_requirements=[f"{name}=={version(name)}" for name in ("torch", "mlflow")],
    )
    return target
