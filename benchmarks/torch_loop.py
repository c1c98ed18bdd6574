"""Score a folder as loops around PyTorch and TorchXRayVision do; run by the Python that has PyTorch.

`python torch_loop.py NETWORK.npz FOLDER OUT.csv [VIEWS]`, or `python torch_loop.py NETWORK.npz` to print how far the
logits are from those of the bundle that the network was taken from. Nothing of the project is imported. The network
is MobileNetV2 with the batch normalisation folded into the convolutions, which is faster than without.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, filters, blocks and first stride (Sandler et al., CVPR 2018, table 2)."""
BATCH = 32
WORKERS = 2
THRESHOLD = 0.5

Arrays = dict[str, npt.NDArray[Any]]
"""Of the network, as `benchmarks/single_view.py` writes them."""


class Films(Dataset):
    """Decoded radiographs, float32 1 × S × S in 0–1: resized, and the centre of them."""

    def __init__(self, folder: str, size: int, input_size: int) -> None:
        self.files = sorted(path for path in Path(folder).iterdir() if path.suffix in (".png", ".dcm"))
        self.size, self.start, self.input_size = size, (size - input_size) // 2, input_size

    def __len__(self) -> int:
        """Count the files."""
        return len(self.files)

    def __getitem__(self, place: int) -> torch.Tensor:
        """Decode one."""
        path = self.files[place]
        image = _dicom(path) if path.suffix == ".dcm" else Image.open(path).convert("L")
        small = np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR), np.float32)
        centre = slice(self.start, self.start + self.input_size)
        return torch.from_numpy(small[centre, centre] / np.float32(255)).unsqueeze(0)


def _dicom(path: Path) -> Image.Image:
    dataset = pydicom.dcmread(path)
    grey = dataset.pixel_array.astype(np.float32) * np.float32(255 / (2**dataset.BitsStored - 1))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return Image.fromarray(grey)


class MobileNetV2(nn.Module):
    """From pixels N × 1 × S × S in 0–1 to logits N × k: a linear head on the averages of the tapped layers."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__()
        self.taps = set(arrays["taps"].tolist())
        self.register_buffer("mean", torch.from_numpy(arrays["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.from_numpy(arrays["std"]).view(1, 3, 1, 1))
        self.blocks = nn.ModuleList()
        self.residual: list[bool] = []
        self.add_block(arrays, [(2, True)])
        for expansion, _, repeats, first in STAGES:
            for repeat in range(repeats):
                stride = first if repeat == 0 else 1
                self.add_block(arrays, [*[(1, True)] * (expansion > 1), (stride, True), (1, False)])
        self.add_block(arrays, [(1, True)])
        features, findings = arrays["head_kernel"].shape
        self.head = nn.Linear(features, findings)
        self.head.weight.data = torch.from_numpy(arrays["head_kernel"].T.copy())
        self.head.bias.data = torch.from_numpy(arrays["head_bias"])

    def add_block(self, arrays: Arrays, layers: list[tuple[int, bool]]) -> None:
        """Add convolutions by their strides and whether a ReLU6 follows; one with equal ends skips over itself."""
        block = nn.ModuleList()
        for stride, relu in layers:
            place = sum(map(len, self.blocks)) + len(block)
            kernel = torch.from_numpy(arrays[f"kernel_{place}"])
            out, each, side, _ = kernel.shape
            groups = out if each == 1 else 1
            convolution = nn.Conv2d(each * groups, out, side, stride, side // 2, groups=groups)
            convolution.weight.data, convolution.bias.data = kernel, torch.from_numpy(arrays[f"bias_{place}"])
            block.append(nn.Sequential(convolution, nn.ReLU6(inplace=True)) if relu else nn.Sequential(convolution))
        ends = block[0][0].in_channels, block[-1][0].out_channels
        self.residual.append(len(block) > 1 and ends[0] == ends[1] and all(stride == 1 for stride, _ in layers))
        self.blocks.append(block)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = (pixels - self.mean) / self.std
        averages, place = [], 0
        for block, residual in zip(self.blocks, self.residual, strict=True):
            out = x
            for convolution in block:
                out = convolution(out)
                if place in self.taps:
                    averages.append(out.mean((2, 3)))
                place += 1
            x = x + out if residual else out
        return self.head(torch.cat(averages, 1))


def score(model: MobileNetV2, films: Films, views: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the probabilities of each film, k."""
    with torch.inference_mode():
        for pixels in DataLoader(films, BATCH, num_workers=WORKERS):
            logits = model(pixels)
            if views == 2:
                logits = (logits + model(pixels.flip(3))) / 2
            yield from torch.sigmoid(logits).numpy()


def difference(model: MobileNetV2, arrays: Arrays) -> float:
    """Return how far the logits of the network are from those of the bundle at most."""
    size, input_size = arrays["sides"].tolist()
    centre = slice((size - input_size) // 2, (size + input_size) // 2)
    pixels = torch.from_numpy(arrays["images"][:, None, centre, centre].astype(np.float32) / np.float32(255))
    with torch.inference_mode():
        return float(np.abs(model(pixels).numpy() - arrays["logits"]).max())


def main() -> None:
    """Score a folder into a table, or print the difference."""
    arrays = dict(np.load(sys.argv[1]))
    model = MobileNetV2(arrays).eval()
    if len(sys.argv) == 2:
        print(difference(model, arrays))
        return
    films = Films(sys.argv[2], *arrays["sides"].tolist())
    scored = score(model, films, int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    with Path(sys.argv[3]).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *range(2 * len(arrays["head_bias"]))])
        for path, row in zip(films.files, scored, strict=True):
            writer.writerow([path, *row, *(row > THRESHOLD)])


if __name__ == "__main__":
    main()
