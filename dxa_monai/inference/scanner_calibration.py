"""A scanner's model from a file with the scan of its step phantom."""

from __future__ import annotations

from pathlib import Path

from dxa_monai.errors import InputError
from dxa_monai.files import output_folder
from dxa_monai.physics.scanner_model import ScannerModel, calibrate_with_phantom, write_scanner_model
from dxa_monai.scan.source import ScanSource


def calibrate_scanner(phantom_scan: str | Path, output: str | Path, source: ScanSource | None = None) -> ScannerModel:
    """Fit the model of a scanner to a scan of the step phantom and write it as JSON.

    Args:
        phantom_scan: raw scan of :class:`dxa_monai.physics.step_phantom.StepPhantom`.
        output: JSON file to write.
        source: how the scan is read; None: as the file declares.

    Raises:
        InputError: the scan cannot be read or does not show the phantom, or the folder cannot be written to.
    """
    raw = (ScanSource() if source is None else source).image(phantom_scan)
    try:
        model = calibrate_with_phantom(raw)
    except InputError as error:
        raise InputError(f"{phantom_scan}: {error}") from error
    output_folder(Path(output).parent)
    write_scanner_model(model, output)
    print(f"Scanner model ({model.residual_nepers:.4f} nepers rms of the fit): {output}")
    return model
