"""Body surfaces: files, defects, points, limbs."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "io": ["BodyMesh", "load_mesh"],
        "checks": ["checked"],
        "points": ["centred", "point_cloud", "sample_points"],
        "limbs": ["LimbTurns", "with_limbs_turned"],
    },
)
