"""Every source of weights gets the input, padding and epsilon that its weights need."""

import pytest

from chestxray.models.pretrained_config import KERAS, TORCHVISION, pretrained_config
from chestxray.params import BackboneParams, HeadParams

LAST_ALONE = HeadParams(taps=("last",))


def test_the_published_weights_keep_licence_and_digest() -> None:
    assert (
        pretrained_config(BackboneParams(weights="imagenet", alpha=1.0, input_size=224, seed=0), LAST_ALONE)
        == TORCHVISION
    )
    assert pretrained_config(BackboneParams(weights="keras", alpha=1.0, input_size=224, seed=0), LAST_ALONE) == KERAS


@pytest.mark.parametrize("weights", ["random", "own.weights.h5"])
def test_other_weights_follow_torchvision_without_its_licence_and_digest(weights: str) -> None:
    config = pretrained_config(BackboneParams(weights=weights, alpha=0.35, input_size=64, seed=0), LAST_ALONE)
    assert (config.alpha, config.input_size) == (0.35, 64)
    for name in ("mean", "std", "epsilon", "symmetric_padding"):
        assert getattr(config, name) == getattr(TORCHVISION, name)
    assert config.licence is None and config.sha256 is None
