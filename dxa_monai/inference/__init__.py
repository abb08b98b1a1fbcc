"""What the bundles' inference commands do."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "body_composition": ["analyse_scans", "collect_rows"],
        "scanner_calibration": ["calibrate_scanner"],
        "meshes": ["collect_meshes", "predict_meshes"],
        "run_scanner": ["scanner_of_rows"],
    },
)
