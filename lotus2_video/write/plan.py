"""Where the outputs go: their names, and every reason to refuse, known before anything is read or computed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..config import Format, Kind, RunConfig
from ..errors import OutputError, UsageError, near_name
from ..frames import Frame, StreamInfo

SUFFIXES: dict[Format, str] = {
    "mp4": ".mp4", "ffv1": ".mkv", "prores": ".mov", "exr": ".exr", "png": ".png", "npz": ".npz"
}  # fmt: skip
PICTURES = ("mp4", "prores", "png")  # what --colormap and --side-by-side apply to; the others hold data only
VIDEO = ("mp4", "ffv1", "prores")  # one file that carries the audio too
_TOGETHER = ("exr", "npz")  # hold all maps in one file
_BY_FRAME = ("exr", "png")  # a file a frame, unless the source is one still


@dataclass(frozen=True)
class Output:
    """One thing that will appear: a file, or with `by_frame` a folder of `NAME.0001.png` and so on; and the maps it holds."""

    path: Path
    kinds: tuple[Kind, ...]
    by_frame: bool


@dataclass(frozen=True)
class OutputPlan:
    """All outputs of one run, of one format."""

    format: Format
    outputs: tuple[Output, ...]
    overwrite: bool = False

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(output.path for output in self.outputs)


@dataclass(frozen=True)
class FrameNames:
    """What the file of each frame is called: one file for a still, else `NAME.0001.png` and so on in a folder.

    A sequence keeps the numbers of its own files; the frames of a video count from 1.
    """

    path: Path
    output: Output
    suffix: str
    info: StreamInfo

    def number(self, frame: Frame) -> int:
        return frame.index if self.info.kind == "sequence" else frame.index + 1

    def file(self, frame: Frame) -> Path:
        if not self.output.by_frame:
            return self.path
        digits = max(4, len(str(self.info.frames or 0)))
        return self.path / f"{self.output.path.name}.{self.number(frame):0{digits}d}{self.suffix}"


def plan_outputs(info: StreamInfo, config: RunConfig, out: str | None = None) -> OutputPlan:
    """Names the outputs of a run and checks that they can be written.

    out: what `-o` said: a file, or a folder (it exists, ends in a slash or has no suffix). None: beside the source.
    `in.mp4` gives `in_depth.mp4`, and with both maps in one file `in_geometry.npz`; formats of a file a frame give the folder
    `in_depth/in_depth.0001.png` unless the source is a still. With two files `-o out.mp4` gives `out_depth.mp4` and so on.

    Raises UsageError for a combination that makes no sense, OutputError for what exists (without `config.overwrite`), is the
    source itself or cannot be written.
    """
    format_ = config.format or _format_of(out) or ("png" if info.kind == "still" else "mp4")
    _check_looks(format_, config)
    place, exact = _place(info, out, format_)
    groups: list[tuple[Kind, ...]] = [config.maps] if format_ in _TOGETHER else [(kind,) for kind in config.maps]
    by_frame = format_ in _BY_FRAME and info.kind != "still"
    outputs = []
    for kinds in groups:
        named = exact and len(groups) == 1
        path = place if named else place.with_name(f"{place.stem}_{_label(kinds)}{place.suffix}")
        outputs.append(Output(path.with_suffix("") if by_frame else path, kinds, by_frame))
    for output in outputs:
        _check(output, info, config.overwrite)
    return OutputPlan(format_, tuple(outputs), config.overwrite)


def _label(kinds: tuple[Kind, ...]) -> str:
    return kinds[0] if len(kinds) == 1 else "geometry"


def _check_looks(format_: Format, config: RunConfig) -> None:
    pictures = " or ".join(f"--format {name}" for name in PICTURES)
    if format_ not in PICTURES:
        if config.colormap != "gray":
            raise UsageError(f"{format_} holds data, which has no colours", "--colormap", f"use {pictures}")
        if config.side_by_side:
            raise UsageError(f"{format_} holds data, not the source's picture", "--side-by-side", f"use {pictures}")
    if config.colormap != "gray" and "depth" not in config.maps:
        raise UsageError("colours depth, which --maps leaves out", "--colormap")


def _is_folder(out: str) -> bool:
    return out.endswith(("/", os.sep)) or os.path.isdir(out) or not Path(out).suffix


def _format_of(out: str | None) -> Format | None:
    """The format that the suffix of `-o` names, or None where that names a folder."""
    if out is None or _is_folder(out):
        return None
    suffix = Path(out).suffix.lower()
    formats: dict[str, Format] = {known: format_ for format_, known in SUFFIXES.items()}
    if suffix not in formats:
        known = ", ".join(SUFFIXES.values())
        hint = near_name(suffix, SUFFIXES.values()) or "or end it in / to name a folder"
        raise UsageError(f"no format has the suffix {suffix} (there are {known})", f"-o {out}", hint)
    return formats[suffix]


def _place(info: StreamInfo, out: str | None, format_: Format) -> tuple[Path, bool]:
    """The file to name the outputs after, and whether `-o` gave that very name."""
    beside, stem = _source_name(info)
    name = stem + SUFFIXES[format_]
    if out is None:
        if beside is None:
            raise UsageError(f"{info.path} has no folder to write beside", "-o", "say where the output goes")
        return beside / name, False
    if _is_folder(out):
        return Path(out) / name, False
    if _format_of(out) != format_:
        want = SUFFIXES[format_]
        raise UsageError(
            f"--format {format_} writes {want} files", f"-o {out}", f"end it in {want} or leave --format out"
        )
    if "%" in Path(out).name:
        raise UsageError("the frames are numbered by themselves", f"-o {out}", "give a folder, or a name without the %")
    return Path(out), True


def _source_name(info: StreamInfo) -> tuple[Path | None, str]:
    """The folder beside which the outputs of a source go (None: it is no file), and what their names begin with."""
    if info.path == "-" or "://" in info.path or info.path.startswith("/dev/"):
        return None, "stdin" if info.path == "-" else (re.sub(r"\W+", "_", Path(info.path).stem).strip("_") or "live")
    path = Path(info.path)
    if info.kind != "sequence":
        return path.parent, path.stem
    before = re.split(r"[%*?\[]", path.name)[0]
    if before == path.name or path.is_dir():
        return _folder_and_name(path)
    stem = before.rstrip("._- ")
    return (path.parent, stem) if stem else _folder_and_name(path.parent)


def _folder_and_name(frames: Path) -> tuple[Path, str]:
    """Where a folder of frames lies and what it is called, also for `.` and the like."""
    absolute = Path(os.path.abspath(frames))
    return (frames.parent if frames.name == absolute.name else absolute.parent), absolute.name


def _check(output: Output, info: StreamInfo, overwrite: bool) -> None:
    path = output.path
    if _is_source(path, info):
        raise OutputError("is the source itself", path, "choose another name with -o")
    if path.exists():
        _check_existing(output, overwrite)
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise OutputError("is a file, not a folder", parent, "choose another place with -o")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError("no permission to write here", parent, "choose another place with -o")


def _is_source(path: Path, info: StreamInfo) -> bool:
    """Whether writing `path` would overwrite what is read: the file, or the folder of the frames."""
    source = Path(info.path)
    candidates = (source, source.parent) if info.kind == "sequence" and not source.is_dir() else (source,)
    return path.exists() and any(source.exists() and os.path.samefile(path, source) for source in candidates)


def _check_existing(output: Output, overwrite: bool) -> None:
    path = output.path
    if path.is_dir() != output.by_frame:
        raise OutputError(f"is a {'folder' if path.is_dir() else 'file'} already", path, "choose another name with -o")
    if not overwrite:
        raise OutputError("exists already", path, "add --overwrite to replace it, or choose another name with -o")
    if output.by_frame:  # replacing a folder deletes it: it must hold nothing but an earlier run's frames
        ours = re.compile(re.escape(path.name) + r"\.-?\d+\.\w+")
        for entry in sorted(path.iterdir()):
            if not ours.fullmatch(entry.name):
                raise OutputError(f"holds something else too ({entry.name})", path, "choose another folder with -o")
