"""Named terms of a loss; each is called with the network's output and the scan."""

from dxa_monai.exports import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "weighted": ["Term", "WeightedLoss"],
        "elementary": ["KLDivergence", "OrthogonalityPenalty", "PixelL1"],
        "perceptual": ["CalibratedPerceptualLoss", "RawPerceptualLoss", "noise_floor"],
        "vgg": ["VGGFeatures"],
        "adversarial": ["AdversarialLoss"],
        "composition": ["CompositionLoss"],
        "energy_ratio": ["EnergyRatioLoss"],
        "latent_matching": ["LatentMatchingLoss"],
        "standardised": ["StandardisedLoss"],
    },
)
