"""How good an image or a number is, and how sure of it one can be."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "image_quality": ["nmae", "psnr_db", "ssim"],
        "bootstrap": ["bootstrap_interval"],
        "rigid_alignment": ["align_rigidly"],
        "scan_metric": ["ScanMetric"],
        "mean_r2": ["MeanR2"],
    },
)
