"""What a scanner sees and how it is undone: pure and differentiable."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "acquisition": ["Acquisition"],
        "attenuation": ["mass_attenuation_cm2_g"],
        "beam_model": ["BeamParameters", "WheelSegments"],
        "calibration": ["body_mask", "calibrated_stacks", "r_image"],
        "decomposition": ["decompose_soft"],
        "scanner_model": ["ScannerModel", "calibrate_with_phantom", "read_scanner_model", "write_scanner_model"],
        "step_phantom": ["StepPhantom"],
    },
)
