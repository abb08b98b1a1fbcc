"""The raw scan: format, the one way to read it, manifest, splits, what a data set's people have."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "format": ["CHANNELS", "PIXEL_SPACING_MM", "SCAN_SHAPE", "channels_first", "counts_to_unit", "unit_to_counts"],
        "io": ["RawScan", "save_scan"],
        "source": ["ScanSource"],
        "reader": ["RawDXAReader"],
        "manifest": ["read_manifest", "write_manifest"],
        "splits": ["split_by_subject", "read_split", "write_split"],
        "statistics": ["image_statistics", "principal_components"],
        "measures": ["BODY_MEASURES", "PAPER_MEASURES", "measures_of"],
        "truth": ["load_truth"],
        "regions": ["regional_totals"],
    },
)
