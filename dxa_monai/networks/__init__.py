"""The networks, and their weights on disk."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "vae": ["DXAVAE", "VAEOutput"],
        "regressor": ["AnthropometryRegressor"],
        "pseudo_dxa": ["PseudoDXA"],
        "landmark_net": ["LandmarkNetwork"],
        "checkpoint": [
            "compact_checkpoint",
            "load_landmark_network",
            "load_pseudo_dxa",
            "load_regressor",
            "load_vae",
            "save_network",
        ],
    },
)
