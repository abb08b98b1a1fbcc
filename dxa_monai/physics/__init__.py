"""What a scanner sees and how it is undone: pure and differentiable."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "acquisition": ["Acquisition"],
        "attenuation": ["mass_attenuation_cm2_g"],
        "beam_model": ["BeamParameters", "WheelSegments"],
        "calibration": ["above_air", "air_level", "body_mask", "calibrated_stacks", "r_image"],
        "correction": ["ScanCorrection", "find_correction"],
        "decomposition": ["decompose_soft"],
        "disturbance": ["Disturbance", "draw_disturbance"],
        "phantom_calibration": ["calibrate_with_phantom"],
        "scanner_model": ["ScannerModel", "read_scanner_model", "write_scanner_model"],
        "soft_tissue_window": ["SoftTissueWindow"],
        "step_phantom": ["StepPhantom"],
        "stray": ["StraySignal"],
        "zero": ["Zero", "find_zero"],
    },
)
