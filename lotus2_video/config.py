"""What can be set, and the only place with defaults: frozen dataclasses, filled from TOML and the command line."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import UsageError, near_name

Kind = Literal["depth", "normal"]
Format = Literal["mp4", "ffv1", "prores", "exr", "png", "npz"]
Colormap = Literal["gray", "inferno", "turbo", "spectral"]
Upsample = Literal["guided", "bilinear"]
NormalSpace = Literal["gl", "cv", "directx", "lotus"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "fp8"]
EngineName = Literal["auto", "local", "ray"]


@dataclass(frozen=True)
class FoldConfig:
    """Temporal smoothing. Disparities are fractions of the depth range.

    memory: share of the warped previous result in the new one where everything agrees, 0 (none) to 1.
    agree: disparity difference, after alignment, at which trust in the previous result has halved.
    agree_share: the same as a share of the disparity from infinity; the lesser of the two counts.
    agree_normal: the same for normals: the length of the difference of two of them, about the angle in radians.
    change: disparity that a point gains or loses by the camera's motion between two frames at which that trust has halved.
    colour: colour difference along the flow, of the full range, at which that trust has halved.
    speed: motion between two frames, of the longer side, at which that trust has halved.
    broad: width of the least detail that is corrected, of the shorter side; what is finer stays as each frame has it.
    anchor: frames that a point's history counts for, at most, when the scale of a new frame is judged against it.
    surprise: disparity difference at which a point's history is half forgotten.
    pull: share of the way back to the network's own scale that is gone each frame, so that it cannot wander.
    settle: frames at the start of a scene that say what that is: the mean of theirs; from then on it stays.
    shift_pull: the same of the disparity that the network gives to infinity, which hardly changes.
    steady_pull: what both become where the network's scale hardly jitters and its slow changes are thus the truth.
    hardly: that jitter between two frames, as a factor less 1, at which a third of this is reached.
    jitter: by how much, as a factor less 1, the network's scale may change between two frames (a standard deviation).
    shift_jitter: by how much the disparity that it gives to infinity may change (a standard deviation).
    alike: pixels of the coarse grid that err together; the more, the less a fit of scale and shift is believed.
    start_scale: scale of the first frame of a scene; at 0.5 what is nearest in it may come twice as near.
    most_scale: factor by which the scale may leave start_scale, either way.
    infinity: what the network's disparity lacks to be 0 at infinity, where no sky is in view; with sky it lacks nothing.
    lookahead: frames after it that a frame waits for and is smoothed with; 0 is causal.
    """

    memory: float = 0.96
    agree: float = 0.1
    agree_share: float = 0.29
    agree_normal: float = 0.4
    change: float = 0.021
    colour: float = 0.1
    speed: float = 0.08
    broad: float = 0.02
    anchor: float = 10.0
    surprise: float = 0.06
    pull: float = 0.01
    settle: int = 60
    shift_pull: float = 0.03
    steady_pull: float = 0.3
    hardly: float = 0.0018
    jitter: float = 0.1
    shift_jitter: float = 0.1
    alike: float = 300.0
    start_scale: float = 0.5
    most_scale: float = 2.0
    infinity: float = 0.045
    lookahead: int = 0

    def __post_init__(self) -> None:
        _check_types(self)
        if self.lookahead < 0:
            raise UsageError(f"must be at least 0, got {self.lookahead}", "--lookahead")


FoldPreset = Literal["live", "default", "film"]
_PRESETS: dict[str, dict[str, Any]] = {
    "live": {"memory": 0.8, "agree": 0.06, "pull": 0.02},
    "default": {},
    "film": {"memory": 0.97, "agree": 0.13, "pull": 0.006, "anchor": 20.0, "lookahead": 8},
}


def fold_preset(name: str) -> FoldConfig:
    """Smoothing for a purpose: live (follows fast), default, film (steadiest, looks ahead). Raises UsageError."""
    if name not in _PRESETS:
        raise UsageError(f"no preset {name!r} (there are {', '.join(_PRESETS)})", "fold", near_name(name, _PRESETS))
    return FoldConfig(**_PRESETS[name])


@dataclass(frozen=True)
class RunConfig:
    """One run: one source through one model into one set of files. The fields are the options of `lotus2-video run`.

    maps: which maps to write, in this order. res: short side in pixels given to the network (None: the model's own).
    fps: frames a second of a folder of frames. sharpen: "none", "all", or every N-th frame. cuts: where shots begin: "auto",
    "none", or a text file of frame numbers, counted from 0 at the first that is read. start, end: seconds of the source's own
    time. chunk: frames a unit of work. window: chunks in flight. resume: keep what the network made in work_dir
    (None: the user's cache folder) until the video is done, and go on from what a run before left there. keep_work: keep it
    longer, for runs with other smoothing or formats. work_limit: GB that all unfinished work may take. gpus, workers, address:
    of the Ray engine: how many GPUs ("all" or a number), how many processes run the network (None: one a GPU, or one every four
    cores), and which cluster ("auto" or HOST:PORT; None: this machine).
    """

    model: str = "mini"
    weights: str | None = None
    maps: tuple[Kind, ...] = ("depth",)
    format: Format | None = None
    colormap: Colormap = "gray"
    side_by_side: bool = False
    upsample: Upsample = "guided"
    normal_space: NormalSpace = "gl"
    res: int | None = None
    fps: float = 24.0
    smooth: bool = True
    sharpen: str = "none"
    cuts: str = "auto"
    start: float | None = None
    end: float | None = None
    device: str = "auto"
    precision: Precision = "auto"
    engine: EngineName = "auto"
    gpus: str = "all"
    workers: int | None = None
    address: str | None = None
    tolerant: bool = False
    overwrite: bool = False
    chunk: int = 8
    window: int = 2
    resume: bool = True
    work_dir: str | None = None
    work_limit: float = 50.0
    keep_work: bool = False
    fold: FoldConfig = field(default_factory=FoldConfig)

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("res", "chunk", "window", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"must be at least 1, got {value}", _option(name))
        if self.gpus != "all" and not self.gpus.isdecimal():
            raise UsageError(f"takes all or a number, got {self.gpus!r}", "--gpus")
        if self.engine == "local" and (self.address or (self.workers or 1) > 1):
            raise UsageError("the local engine has one worker, in this process", "--engine", "leave --engine out")
        if self.fps <= 0:
            raise UsageError(f"must be above 0, got {self.fps:g}", "--fps")
        if self.work_limit < 0:
            raise UsageError(f"must be at least 0, got {self.work_limit:g}", "--work-limit")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise UsageError(f"ends at {self.end:g} s, before it starts at {self.start:g} s", "--end")
        if not self.maps or len(set(self.maps)) != len(self.maps):
            raise UsageError("takes depth, normal, or depth,normal", "--maps")
        if self.sharpen not in ("none", "all") and not (self.sharpen.isdecimal() and int(self.sharpen) > 0):
            raise UsageError(f"takes none, all or a number of frames, got {self.sharpen!r}", "--sharpen")


@dataclass(frozen=True)
class BatchConfig:
    """How many videos are worked off. The fields are the options of `lotus2-video batch` that `run` has not.

    jobs: videos in flight. retries: how often a video that failed is tried again. fail_fast: start no other after one failed.
    limit: take the first so many only. shard: "I/N", take every N-th from the I-th on (counted from 1), so that N machines
    share the work. column: of a CSV, JSONL or Parquet list, where the paths are.
    """

    jobs: int = 2
    retries: int = 1
    fail_fast: bool = False
    limit: int | None = None
    shard: str | None = None
    column: str | None = None

    def __post_init__(self) -> None:
        _check_types(self)
        for name, least in (("jobs", 1), ("retries", 0), ("limit", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"must be at least {least}, got {value}", _option(name))
        part, of = self.part
        if not 1 <= part <= of:
            raise UsageError(f"takes I/N with I from 1 to N, got {self.shard!r}", "--shard")

    @property
    def part(self) -> tuple[int, int]:
        """The shard as two numbers; (0, 0) where it is none."""
        if self.shard is None:
            return 1, 1
        part, _, of = self.shard.partition("/")
        return (int(part), int(of)) if part.isdecimal() and of.isdecimal() else (0, 0)


def load_toml(path: str | Path) -> dict[str, Any]:
    """The settings in a TOML file, as keyword arguments for `configure`. Raises UsageError with the file and the fault."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(error.strerror or str(error), path, "check the path after --config") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not valid TOML ({error})", path) from error


def configure(
    settings: dict[str, Any], base: RunConfig | None = None, where: str | Path = "configuration"
) -> RunConfig:
    """`base` with `settings` on top; keys are the field names, with - or _. An unknown key is an error with the near name.

    Under `fold`, `preset` names what the other keys there change.
    """
    return _override(base or RunConfig(), settings, str(where))


def _override(base: Any, settings: dict[str, Any], where: str) -> Any:
    known = {f.name for f in fields(base)}
    changes: dict[str, Any] = {}
    for key, value in settings.items():
        name = key.replace("-", "_")
        if name not in known:
            raise UsageError(f"unknown key {key!r}", where, near_name(name, known))
        current = getattr(base, name)
        if name == "fold" and isinstance(value, dict):
            chosen = value.get("preset")
            current = current if chosen is None else fold_preset(chosen)
            value = {key: each for key, each in value.items() if key != "preset"}
        if isinstance(value, dict):
            value = _override(current, value, f"{where} [{key}]") if hasattr(current, "__dataclass_fields__") else value
        elif name == "maps":
            value = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else tuple(value)
        elif name in ("sharpen", "gpus"):
            value = str(value)
        changes[name] = value
    return replace(base, **changes)


def _check_types(config: object) -> None:
    """Each field against its annotation, with a message that says got and supported."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _fits(value, hint):
            got = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise UsageError(f"got {got!r}, takes {_wanted(hint)}", _option(name), _near_choice(value, hint))


def _fits(value: object, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(v, get_args(hint)[0]) for v in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _choices(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [str(choice) for choice in get_args(hint)]
    return [choice for part in get_args(hint) for choice in _choices(part)]


def _wanted(hint: Any) -> str:
    return ", ".join(_choices(hint)) or {int: "a whole number", float: "a number", bool: "true or false"}.get(
        hint, "text"
    )


def _near_choice(value: object, hint: Any) -> str | None:
    wrong = [part for part in (value if isinstance(value, tuple) else [value]) if str(part) not in _choices(hint)]
    return near_name(str(wrong[0]), _choices(hint)) if wrong else None


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
