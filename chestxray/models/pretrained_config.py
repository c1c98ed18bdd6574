"""Describe pre-trained weights of MobileNetV2: width, input, normalisation, padding, licence; and their taps."""

from dataclasses import dataclass, replace

from chestxray.models.mobilenet_v2 import LAST, Tap, find_taps
from chestxray.params import BackboneParams, HeadParams


@dataclass(frozen=True)
class PretrainedConfig:
    """Everything beside the weights that a network needs to compute what they were trained to compute.

    Attributes:
        alpha: width multiplier of the filters.
        input_size: side of the square that the network sees, in pixels.
        mean: of the input in 0–1, per channel.
        std: standard deviation of the input in 0–1, per channel.
        epsilon: of batch normalisation.
        symmetric_padding: whether stride-2 convolutions pad 1 on every side (torchvision), or only right and bottom
            (Keras).
        licence: SPDX identifier; None where it is unknown.
        sha256: of the published file; None where there is no such file.
        tap_names: of the layers whose averaged activations the head sees.
    """

    alpha: float
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    epsilon: float
    symmetric_padding: bool
    licence: str | None = None
    sha256: str | None = None
    tap_names: tuple[str, ...] = (LAST,)

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The layers whose averaged activations the head sees, in the order of the network."""
        return find_taps(self.alpha, self.tap_names)

    def with_last_tap_alone(self) -> "PretrainedConfig":
        """Return the same network whose head sees the last layer alone."""
        return replace(self, tap_names=(LAST,))


# See docs/decisions/imagenet-weights.md for what another padding, epsilon or mean does to these weights.
TORCHVISION = PretrainedConfig(
    alpha=1.0,
    input_size=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    epsilon=1e-5,
    symmetric_padding=True,
    licence="BSD-3-Clause",
    sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
)
KERAS = PretrainedConfig(
    alpha=1.0,
    input_size=224,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    epsilon=1e-3,
    symmetric_padding=False,
)


def pretrained_config(params: BackboneParams, head: HeadParams) -> PretrainedConfig:
    """Return the description of the weights that `backbone.weights` names, tapped where `head.taps` says.

    Random weights and those of a file are taken to follow torchvision; their licence and digest are unknown.
    """
    published = KERAS if params.weights == "keras" else TORCHVISION
    config = replace(published, alpha=params.alpha, input_size=params.input_size, tap_names=head.taps)
    if params.weights in ("imagenet", "keras"):
        return config
    return replace(config, licence=None, sha256=None)
