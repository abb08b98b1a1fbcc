"""From a scan's maps to bone, landmarks, regions and body composition."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "bone": ["BoneSettings", "decompose", "find_bone", "find_and_decompose"],
        "composition": ["BodyComposition", "analyse_scan"],
        "landmark_finder": ["find_landmarks"],
        "landmarks": ["Landmarks", "read_landmarks", "write_landmarks"],
        "region_cuts": ["region_map_from_landmarks"],
        "scan_calibration": ["calibrate_with_scan"],
    },
)
