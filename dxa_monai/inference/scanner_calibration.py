"""A scanner's model from a file with the scan of its step phantom."""

from __future__ import annotations

from pathlib import Path

import torch

from dxa_monai.errors import InputError
from dxa_monai.files import remove_partial
from dxa_monai.physics.beam_model import WheelSegments
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import ScannerModel, read_scanner_model, write_scanner_model
from dxa_monai.runs.ownership import taking_turns
from dxa_monai.scan.format import channels_first
from dxa_monai.scan.source import ScanSource


def calibrate_scanner(
    phantom_scan: str | Path,
    output: str | Path,
    source: ScanSource | None = None,
    wheel: WheelSegments | None = None,
) -> ScannerModel:
    """Fit the model of a scanner to a scan of the step phantom and write it as JSON.

    Args:
        phantom_scan: raw scan of :class:`dxa_monai.physics.step_phantom.StepPhantom`.
        output: JSON file to write.
        source: how the scan is read; None: as the file declares.
        wheel: what the segments of the scanner's wheel are made of; None: the default.

    Raises:
        InputError: the scan cannot be read or does not show the phantom, the folder cannot be written to, or another
            file than a scanner's model is there.
    """
    if Path(output).exists():
        try:
            read_scanner_model(output)
        except InputError as error:
            raise InputError(
                f"{output}: expected no such file, or a scanner model that may be replaced, got another file."
            ) from error
    scan = (ScanSource() if source is None else source).read(phantom_scan)
    try:
        raw = torch.from_numpy(channels_first(scan.counts))
        model = calibrate_with_phantom(raw, wheel=wheel, pixel_spacing_mm=scan.pixel_spacing_mm)
    except InputError as error:
        raise InputError(f"{phantom_scan}: {error}") from error
    with taking_turns(Path(output).parent) as folder:
        remove_partial(folder)
        write_scanner_model(model, output)
    stray = model.stray
    print(
        f"Scanner model ({model.residual_nepers * 1e3:.2f} millinepers left of the fit; scatter "
        f"{100 * stray.scatter_to_primary:.1f} % behind 20 g/cm2, glare {100 * stray.glare:.2f} %, dark signal "
        f"{max(stray.dark_high, stray.dark_low):.0e}): {output}"
    )
    return model
