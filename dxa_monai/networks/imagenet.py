"""Weights that others trained on photographs, fetched once by torchvision into its cache."""

from __future__ import annotations

import pickle
from typing import Any

from dxa_monai.errors import InputError


def download_state_dict(entry: Any, network: str, instead: str) -> dict[str, Any]:
    """The state dict of an entry of ``torchvision.models``' weights, its hash checked, without running code in it.

    Args:
        entry: for example ``VGG16_Weights.IMAGENET1K_V1``.
        network: its name for people.
        instead: what else to choose, the end of the sentence that tells of a failure.

    Raises:
        InputError: it is not in the cache and cannot be downloaded.
    """
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", error)
        raise InputError(
            f"weights: expected to download ImageNet's {network}, got '{reason}'; fetch {entry.url} where there is a "
            f"network and give the path of the file, {instead}."
        ) from error
