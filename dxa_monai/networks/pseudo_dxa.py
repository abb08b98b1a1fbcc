"""Pseudo-DXA: points of a body's surface to its raw scan, by a mesh encoder and the generator of the DXA-VAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F

from dxa_monai.errors import InputError
from dxa_monai.networks.material_path import MaterialPath
from dxa_monai.networks.noise import standard_normal_like
from dxa_monai.networks.pointnet import PointNetEncoder
from dxa_monai.networks.pointnet2 import PointNet2Encoder
from dxa_monai.networks.scan_decoder import ScanDecoder
from dxa_monai.networks.shape_maps import CELL_M
from dxa_monai.networks.shape_path import ShapePath
from dxa_monai.networks.vae import DXAVAE, VAEOutput
from dxa_monai.scan.format import CHANNELS, SCAN_SHAPE

ENCODERS: dict[str, type[PointNet2Encoder] | type[PointNetEncoder]] = {
    "pointnet2": PointNet2Encoder,
    "pointnet": PointNetEncoder,
}
POINT_ROWS = 7
DEFAULT_POINTS = 2048
"""Points of a body that the encoder sees."""


class PseudoDXA(ScanDecoder):
    """Mesh encoder, reparameterised latent map, generator of the difference from the mean scan (paper section 4.3).

    From the latent map on this is the :class:`DXAVAE`, so that a trained VAE's generator, mean image, standard
    deviation and linear path fit (:func:`dxa_monai.networks.generator_weights.initialise_generator`). With a random
    generator training starts exactly at the mean image, as there. With ``linear_channels`` the codes of the principal
    components start at zero, too: the encoder has to predict them as it does the other codes.

    In training mode z is drawn as mu + exp(log_variance / 2) * noise, in evaluation mode z = mu.

    Args:
        encoder: ``kind``, a name in ``ENCODERS``, and arguments of it, except those of the latent map; ``points`` that
            it sees, 0 for all. None: ``pointnet2`` with its defaults.
        out_channels: channels of a scan.
        spatial_shape: rows and columns of a scan.
        latent_channels: channels of the latent map.
        latent_shape: rows and columns of the latent map.
        generator_channels: see :class:`DXAVAE`.
        generator_kernel_sizes: see :class:`DXAVAE`.
        generator_dense_shape: see :class:`DXAVAE`.
        linear_channels: see :class:`DXAVAE`.
        linear_directions: see :class:`DXAVAE`.
        shape_components: principal components of shape in the shape path, which needs ``linear_channels``; 0: none.
        material_components: components of the maps of fat, lean and bone mineral (:class:`MaterialPath`), which need
            ``shape_components``; 0: the network predicts no maps, as those before 0.9.
        shape_cell_m: side of a cell of the thickness maps of which the components of shape are.

    Raises:
        InputError: an unknown kind of encoder or argument of it, or sizes that do not fit together.
    """

    def __init__(
        self,
        encoder: Mapping[str, Any] | None = None,
        out_channels: int = len(CHANNELS),
        spatial_shape: Sequence[int] = SCAN_SHAPE,
        latent_channels: int = 512,
        latent_shape: Sequence[int] = (5, 4),
        generator_channels: Sequence[int] = (512, 256, 128, 64, 32),
        generator_kernel_sizes: Sequence[int] = (2, 4, 8),
        generator_dense_shape: Sequence[int] | None = None,
        linear_channels: int = 0,
        linear_directions: int | None = None,
        shape_components: int = 0,
        material_components: int = 0,
        shape_cell_m: float = CELL_M,
    ) -> None:
        super().__init__()
        arguments = {"kind": "pointnet2"} if encoder is None else dict(encoder)
        kind = arguments.pop("kind", None)
        if kind not in ENCODERS:
            raise InputError(f"encoder: expected a kind among {', '.join(ENCODERS)}, got '{kind}'.")
        self._encoder_kind = str(kind)
        self.encoder_points = int(arguments.pop("points", DEFAULT_POINTS))
        if self.encoder_points < 0:
            raise InputError(f"encoder: expected points from 0 (all), got {self.encoder_points}.")
        try:
            self.encoder = ENCODERS[kind](latent_channels=latent_channels, latent_shape=latent_shape, **arguments)
        except TypeError as error:
            raise InputError(f"encoder: expected arguments of {ENCODERS[kind].__name__}, got '{error}'.") from error
        self.build_decoder(
            out_channels,
            spatial_shape,
            latent_channels,
            latent_shape,
            generator_channels,
            generator_kernel_sizes,
            generator_dense_shape,
            linear_channels,
            linear_directions,
        )
        # Codes of principal components multiply large images: they start at their mean.
        with torch.no_grad():
            for parameter in self.encoder.head.mu.parameters():
                parameter[: self.linear_codes] = 0.0
        self.shape_path = ShapePath(shape_components, self.linear_codes, shape_cell_m) if shape_components else None
        self.material_path = (
            MaterialPath(shape_components, material_components, spatial_shape) if material_components else None
        )
        self._generator_frozen = False

    @classmethod
    def like(
        cls,
        vae: DXAVAE,
        encoder: Mapping[str, Any] | None = None,
        shape_components: int = 0,
        material_components: int = 0,
        shape_cell_m: float = CELL_M,
    ) -> PseudoDXA:
        """A network with a random generator of the architecture that ``vae`` has; the rest as of the constructor.

        A ``vae`` without a linear path leaves nothing for a shape path to predict: the network then has none, and no
        maps of materials, which follow from its components of shape: no more components of maps tell anything.
        """
        of_vae = vae.architecture()
        shared = {name: value for name, value in of_vae.items() if name in signature(PseudoDXA).parameters}
        components = shape_components if of_vae["linear_channels"] else 0
        return cls(
            encoder,
            out_channels=of_vae["in_channels"],
            shape_components=components,
            material_components=min(material_components, components),
            shape_cell_m=shape_cell_m,
            **shared,
        )

    def architecture(self) -> dict[str, Any]:
        """As of every :class:`Rebuildable` network, with the encoder's defaults spelt out."""
        of_encoder = {
            name: value
            for name, value in self.encoder.architecture().items()
            if name not in ("latent_channels", "latent_shape")
        }
        about = {"kind": self._encoder_kind, "points": self.encoder_points}
        return super().architecture() | {"encoder": about | of_encoder}

    def freeze_generator(self, frozen: bool = True) -> None:
        """Keep the generator as it is and in evaluation mode, also after :meth:`train`; or set it free again.

        Gradients still pass through it to the encoder. An optimiser skips frozen weights, so it may hold them all.
        """
        self._generator_frozen = frozen
        self.generator.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> PseudoDXA:
        """Training mode for all but a frozen generator."""
        super().train(mode)
        if self._generator_frozen:
            self.generator.eval()
        return self

    def encode(self, points: torch.Tensor, lengths: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Mu and log-variance, each ``(B, latent_channels, *latent_shape)``; arguments as of :meth:`forward`."""
        seen = points[:, : self.encoder.in_features]
        if self.encoder_points and lengths is None:
            seen = seen[:, :, : self.encoder_points]
        mu, log_variance = self.encoder(seen, lengths)
        if self.shape_path is not None:
            if points.shape[1] < POINT_ROWS or lengths is not None:
                raise InputError(
                    f"points: expected {POINT_ROWS} rows (x, y, z, normal, area) and no lengths for a shape path, "
                    f"got {points.shape[1]} rows and {'no' if lengths is None else 'some'} lengths."
                )
            others = mu.flatten(1).shape[1] - self.linear_codes
            mu = mu + F.pad(self.shape_path(points), (0, others)).reshape(mu.shape)
        return mu, log_variance

    def forward(self, points: torch.Tensor, lengths: torch.Tensor | None = None) -> VAEOutput:
        """Scans, not clamped, of points of bodies, from a sample in training mode and from mu otherwise.

        The noise comes from torch's global generator: seed it (MONAI's ``set_determinism``) for a repeatable run.

        Args:
            points: ``(B, F, P)``: x, y, z in metres, with ``in_features`` 6 (the default) the unit normal, and for a
                shape path the area in m2 that each stands for (:func:`dxa_monai.mesh.points.point_cloud`); what the
                network does not need may follow.
            lengths: ``(B,)`` points of each body, where they differ; not with a shape path.

        Raises:
            InputError: another shape, lengths out of range, or PyTorch3D is not installed.
        """
        mu, log_variance = self.encode(points, lengths)
        z = mu
        if self.training:
            z = mu + torch.exp(0.5 * log_variance) * standard_normal_like(mu)
        return VAEOutput(self.decode(z), mu, log_variance)

    def predict(self, points: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Scans ``(B, out_channels, H, W)`` from mu, clamped to [0, 1]; arguments as of :meth:`forward`."""
        mu, _ = self.encode(points, lengths)
        return self.decode(mu).clamp(0.0, 1.0)

    def materials(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps of fat, lean and bone mineral, and what regions hold, without an image; see :class:`MaterialPath`.

        Args:
            points: ``(B, 7, P)`` as of :meth:`forward`.

        Returns:
            Areal densities in g/cm2, ``(B, 3, H, W)``, and sums in g and cm2, ``(B, SUMMED_REGIONS, SUMS)``
            (:func:`dxa_monai.scan.regions.totals_of_sums`).

        Raises:
            InputError: the network predicts no maps, or other points.
        """
        if self.shape_path is None or self.material_path is None:
            raise InputError("network: expected one with maps of materials (material_components), got one without.")
        if points.shape[1] < POINT_ROWS:
            raise InputError(f"points: expected {POINT_ROWS} rows (x, y, z, normal, area), got {points.shape[1]} rows.")
        codes = self.shape_path.shape_codes(points)
        return self.material_path(codes), self.material_path.sums(codes)

    @property
    def has_transforms(self) -> bool:
        """Whether the encoder has transforms to keep near rotations."""
        return isinstance(self.encoder, PointNetEncoder)

    def orthogonality_penalty(self) -> torch.Tensor:
        """That of a PointNet's transforms in the last forward pass, a scalar; 0 for an encoder without any."""
        if isinstance(self.encoder, PointNetEncoder):
            return self.encoder.orthogonality_penalty()
        return self.standard_deviation.new_zeros(())
