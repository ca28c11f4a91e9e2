"""lotus2-video: steady, sharp depth and surface-normal video from any footage.

    for frame in lotus2_video.estimate("in.mp4"):
        frame.rgb, frame.depth, frame.seconds

Importing this package loads no torch, no OpenVINO, no decoder and no Ray; the names below load what they need when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batch import BatchListener, BatchOutcome, run_batch
    from .config import BatchConfig, FoldConfig, RunConfig, configure, load_toml
    from .errors import (
        BatchFailed,
        EngineError,
        InputError,
        Lotus2VideoError,
        OutputError,
        TruncatedInput,
        UsageError,
        WeightsError,
    )
    from .frames import Frame, Maps, Result, StreamInfo
    from .models import ModelCard, ModelOptions, Predictor, make_predictor, register
    from .read import open_source, probe
    from .run import Job, Listener, Outcome, run_video
    from .run import estimate_video as estimate

__version__ = "0.1.0"

_HOME = {
    "batch": ("BatchListener", "BatchOutcome", "run_batch"),
    "config": ("BatchConfig", "FoldConfig", "RunConfig", "configure", "load_toml"),
    "errors": (
        "BatchFailed",
        "EngineError",
        "InputError",
        "Lotus2VideoError",
        "OutputError",
        "TruncatedInput",
        "UsageError",
        "WeightsError",
    ),
    "frames": ("Frame", "Maps", "Result", "StreamInfo"),
    "models": ("ModelCard", "ModelOptions", "Predictor", "make_predictor", "register"),
    "read": ("open_source", "probe"),
    "run": ("Job", "Listener", "Outcome", "estimate_video", "run_video"),
}
_PLACE = {name: (module, name) for module, names in _HOME.items() for name in names}
_PLACE["estimate"] = _PLACE.pop("estimate_video")

__all__ = [  # noqa: RUF022 (in the order a reader meets them)
    "estimate", "run_video", "Job", "Outcome", "Listener",
    "run_batch", "BatchConfig", "BatchOutcome", "BatchListener",
    "RunConfig", "FoldConfig", "configure", "load_toml",
    "Frame", "Maps", "Result", "StreamInfo", "open_source", "probe",
    "Predictor", "ModelOptions", "ModelCard", "make_predictor", "register",
    "Lotus2VideoError", "UsageError", "InputError", "TruncatedInput", "WeightsError", "OutputError",
    "EngineError", "BatchFailed",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, inner = _PLACE[name]
    return getattr(import_module(f".{module}", __name__), inner)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
