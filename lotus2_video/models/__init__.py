"""Models: what a predictor is, which there are, and how one is made.

A predictor is a pure function of the frames given: it may run anywhere, in any order, twice, and one frame's maps do not
depend on the frames beside it in the batch (law 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ..config import Kind
from ..errors import UsageError, near_name
from ..frames import Maps


@runtime_checkable
class Predictor(Protocol):
    """The seam behind which every model stands.

    kinds: the maps it makes. fingerprint: changes whenever the same frames would give other bits (weights, precision, ...).
    """

    kinds: tuple[Kind, ...]
    fingerprint: str

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) in pixels at which it wants frames of a source of that size; the walk resizes them."""
        ...

    def predict(self, rgb: np.ndarray, *, sharpen: bool = False) -> list[Maps]:
        """The geometry of each of N frames.

        rgb: uint8 [N,h,w,3], h and w as `input_size` said. sharpen: with the model's detail sharpener, where it has one: the
        core's maps of these frames and the sharpener over them, in one call, as pure as without it. The walk asks so for
        every frame (`--sharpen all`) or for key frames, whose difference to the plain maps it carries along to the others.
        Returns N Maps, all of one size (h,w), which need not be that of the frames but is the same with the sharpener.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class ModelOptions:
    """What a predictor is made from; plain values, so that it can be made in another process.

    kinds: maps wanted. weights: a folder, or None for the model's own place. res: short side in pixels, or None.
    device: auto, cpu, cuda or cuda:N. precision: auto, fp32, bf16 or fp8. sharpen: whether `predict` will be asked to, so
    that memory is planned.
    """

    kinds: tuple[Kind, ...] = ("depth",)
    weights: str | None = None
    res: int | None = None
    device: str = "auto"
    precision: str = "auto"
    sharpen: bool = False


@dataclass(frozen=True)
class ModelCard:
    """What `lotus2-video models` shows. make: `make(rest, options)`, `rest` being what follows the colon of `hf:ID`.

    notice: a line about the licence that a run with this model says once; empty where there is nothing to say. light: a GPU is
    so much faster with it than decoding, smoothing and encoding are that a second one would only wait.
    """

    name: str
    about: str
    kinds: tuple[Kind, ...]
    licence: str
    sharpener: bool
    where: Callable[[], str]
    make: Callable[[str, ModelOptions], Predictor]
    notice: str = ""
    light: bool = False


def register(card: ModelCard) -> None:
    """Adds a model of your own under `card.name`; `--model NAME` and `make_predictor` find it from then on."""
    _cards[card.name] = card


def cards() -> tuple[ModelCard, ...]:
    return tuple(_cards.values())


def find_card(model: str) -> ModelCard:
    """The card of `model` ("mini", "hf:ID", ...). Raises UsageError with the near name."""
    name = model.partition(":")[0]
    if name not in _cards:
        known = ", ".join(_cards)
        raise UsageError(f"no model {model!r} (there are {known})", "--model", near_name(name, _cards))
    return _cards[name]


def make_predictor(model: str, options: ModelOptions) -> Predictor:
    """A ready predictor. Raises UsageError for maps it does not make, WeightsError for weights it cannot find or read."""
    card = find_card(model)
    missing = [kind for kind in options.kinds if kind not in card.kinds]
    if missing:
        raise UsageError(f"{card.name} makes {' and '.join(card.kinds)}, not {' and '.join(missing)}", "--maps")
    return card.make(model.partition(":")[2], options)


def count_gpus() -> int:
    """CUDA devices that this process may use; torch, which knows, is loaded only where there is a driver."""
    from .mini import has_nvidia_driver

    try:
        if not has_nvidia_driver():
            return 0
        from .torch_device import torch
    except ModuleNotFoundError:  # without torch, nothing here would run on them
        return 0
    return torch.cuda.device_count()


def fetch(model: str) -> None:
    """Downloads what `model` ("lotus-2", "hf:ID") needs and is not here yet. Raises UsageError, WeightsError."""
    find_card(model)
    with _gpu_extra("fetching"):
        from .weights_fetch import fetch as download
    download(model)


def _make_fake(rest: str, options: ModelOptions) -> Predictor:
    from .fake import FakePredictor

    return FakePredictor(options)


def _make_mini(rest: str, options: ModelOptions) -> Predictor:
    from .mini import MiniPredictor

    return MiniPredictor(options)


def _make_lotus2(rest: str, options: ModelOptions) -> Predictor:
    with _gpu_extra("lotus-2"):
        from .lotus2 import make
    return make(rest, options)


def _make_hf(rest: str, options: ModelOptions) -> Predictor:
    with _gpu_extra("hf:"):
        from .hf import make
    return make(rest, options)


@contextmanager
def _gpu_extra(model: str) -> Iterator[None]:
    """Says how to install what only some models need."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"{model} needs {error.name}", "--model", "pip install 'lotus2-video[gpu]'") from error


def _lotus2_where() -> str:
    from .weights import where

    return where()


def _mini_where() -> str:
    from .mini import weights_path

    return str(weights_path())


_cards: dict[str, ModelCard] = {}
register(
    ModelCard("mini", "small, inside the package, runs anywhere", ("depth", "normal"), "Apache-2.0", True,
              _mini_where, _make_mini, light=True)
)  # fmt: skip
register(
    ModelCard("fake", "a deterministic function of the picture, for tests", ("depth", "normal"), "Apache-2.0", True,
              lambda: "no weights", _make_fake)
)  # fmt: skip
register(
    ModelCard(
        "lotus-2", "the published Lotus-2 on FLUX.1-dev, the sharpest; wants a GPU", ("depth", "normal"),
        "adapters Apache-2.0, base FLUX.1-dev Non-Commercial License", True, _lotus2_where, _make_lotus2,
        "lotus-2 runs on FLUX.1-dev, whose licence is non-commercial: https://huggingface.co/black-forest-labs/FLUX.1-dev",
    )
)  # fmt: skip
register(
    ModelCard("hf", "hf:ID or hf:FOLDER, any depth-estimation model of transformers", ("depth",),
              "as the model's own page says", False, lambda: "the Hugging Face cache, or the folder given", _make_hf)
)  # fmt: skip
