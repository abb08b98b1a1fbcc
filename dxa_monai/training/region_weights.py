r"""How often a pixel counts so that arms, legs and the rest of the body weigh alike.

Principal components keep what most pixels say. Arms are a fifth of the pixels of a body, and what they hold is a number
of its own in every report: an error that is small in the whole is large in them. The sum over a region of n pixels has,
where the errors e of its pixels are independent, a squared relative error of

.. math:: \sum e^2 / (n \bar{x})^2

So with each pixel counted 1 / n times, the squared errors are those of the regions, each relative to its own size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm import tqdm

from dxa_monai.analysis.analysed_scan import AnalysedScan
from dxa_monai.errors import InputError
from dxa_monai.physics.forward import gaussian_blur
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.manifest import Row
from dxa_monai.scan.regions import REGION_GROUPS, Region
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.spread import every_so_many

MOST_SCANS = 200
"""Analysed; of more training scans some spread evenly are taken."""
_BLUR_PIXELS = 1.5
"""Where few scans tell one pixel from the next."""
_LIMBS = (REGION_GROUPS["arms"], REGION_GROUPS["legs"])
_REGIONS = (*_LIMBS, tuple(region for region in Region if region and region not in {*_LIMBS[0], *_LIMBS[1]}))
"""Those of the paper's measures: arms, legs, and what the whole body has besides."""


def region_weights(rows: Sequence[Row], source: ScanSource, scanner: ScannerModel) -> torch.Tensor:
    """Weights ``(H, W)``, alike on both sides: 1 on average in the body, 1 where no body is.

    A pixel that lies in several regions, in one scan or another, has their mean weight.

    Args:
        rows: manifest rows of the training scans.
        source: how they are read.
        scanner: of the analysis that finds the regions.

    Raises:
        InputError: no scan shows a whole body, or a region is missing in all.
    """
    found = []
    for row in tqdm(rows[every_so_many(len(rows), MOST_SCANS)], desc="regions of training scans", unit="scan"):
        region_map = AnalysedScan(source.image(row["scan"])[None], scanner).region_map
        if region_map is not None:
            found.append(torch.from_numpy(region_map))
    if not found:
        raise InputError(
            "contrast_by_region: expected training scans that show a whole body, got none; set it to False."
        )
    maps = torch.stack(found)
    shares = torch.stack([torch.isin(maps, torch.tensor(codes)).float().mean(dim=0) for codes in _REGIONS])
    pixels = shares.sum(dim=(1, 2))
    if not bool((pixels > 0).all()):
        raise InputError("contrast_by_region: expected training scans with arms, legs and a trunk, got some without.")
    weights = (shares * (pixels.sum() / len(_REGIONS) / pixels)[:, None, None]).sum(dim=0) + (1.0 - shares.sum(dim=0))
    blurred = gaussian_blur(weights[None, None], (_BLUR_PIXELS, _BLUR_PIXELS))[0, 0]
    return (blurred + blurred.flip(-1)) / 2.0
