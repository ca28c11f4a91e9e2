"""What every sink promises, whatever its format; and what the outputs are called. The formats: test_write_formats.py."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lotus2_video.config import RunConfig
from lotus2_video.errors import OutputError, UsageError
from lotus2_video.frames import Frame, Maps, Result, StreamInfo
from lotus2_video.write import OutputPlan, Sink, open_sinks, plan_outputs

FORMATS = ("mp4", "ffv1", "prores", "exr", "png", "npz")
BASE = Fraction(1, 15360)


def info_of(path: Path | str, kind: str = "video", size: tuple[int, int] = (48, 64)) -> StreamInfo:
    return StreamInfo(str(path), kind, size[1], size[0], BASE, rate=Fraction(30))  # type: ignore[arg-type]


def result(number: int, size: tuple[int, int] = (48, 64), noise: bool = False) -> Result:
    """A ramp that moves, with normals that turn; or noise, which fills a disk quickly."""
    height, width = size
    rng = np.random.default_rng(number)
    depth = np.linspace(0, 0.8, width, dtype=np.float32)[None] + np.linspace(0, 0.1, height, dtype=np.float32)[:, None]
    depth = rng.random(size, np.float32) if noise else depth + np.float32(number / 200)
    normal = np.dstack([depth - 0.5, 0.3 - depth, np.ones_like(depth)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    rgb = np.full((height, width, 3), number * 10 % 256, np.uint8)
    return Result(Frame(number, number * 512, BASE, rgb), Maps(depth, normal))


def plan_of(folder: Path, fmt: str, **settings: object) -> tuple[OutputPlan, StreamInfo, RunConfig]:
    info = info_of(folder / "in.mp4")
    config = RunConfig(format=fmt, maps=("depth", "normal"), **settings)  # type: ignore[arg-type]
    return plan_outputs(info, config), info, config


def write_all(folder: Path, fmt: str, frames: int = 3, **settings: object) -> Sink:
    sink = open_sinks(*plan_of(folder, fmt, **settings), None, "fake")
    for number in range(frames):
        sink.write(result(number))
    sink.commit()
    return sink


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


# ---- the contract


@pytest.mark.parametrize("fmt", FORMATS)
def test_nothing_has_its_final_name_before_commit_and_nothing_else_is_left_after_it(tmp_path: Path, fmt: str):
    sink = open_sinks(*plan_of(tmp_path, fmt), None, "fake")
    for number in range(3):
        sink.write(result(number))
        assert visible(tmp_path) == []
    sink.commit()
    assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in sink.paths)
    before = contents(tmp_path)
    sink.commit()
    sink.abort()
    sink.abort()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("frames", [0, 3])
def test_abort_leaves_nothing_behind_not_even_the_folders_it_made(tmp_path: Path, fmt: str, frames: int):
    info, config = info_of(tmp_path / "in.mp4"), RunConfig(format=fmt)  # type: ignore[arg-type]
    sink = open_sinks(plan_outputs(info, config, f"{tmp_path}/new/deeper/"), info, config)
    for number in range(frames):
        sink.write(result(number))
    sink.abort()
    sink.abort()
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="aborted"):
        sink.write(result(0))


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_sink_without_a_frame_commits_nothing(tmp_path: Path, fmt: str):
    sink = open_sinks(*plan_of(tmp_path, fmt))
    with pytest.raises(OutputError, match="no frame"):
        sink.commit()
    sink.abort()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("fmt", FORMATS)
def test_what_exists_is_refused_before_anything_is_made(tmp_path: Path, fmt: str):
    path = write_all(tmp_path, fmt).paths[0]
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=f"{path}.*--overwrite") as caught:
        plan_of(tmp_path, fmt)
    assert caught.value.exit_code == 5
    assert contents(tmp_path) == before


@pytest.mark.parametrize("fmt", FORMATS)
def test_overwriting_keeps_the_old_until_the_new_is_complete(tmp_path: Path, fmt: str):
    paths = write_all(tmp_path, fmt, frames=4).paths
    old = contents(tmp_path)

    def without_partials() -> dict[str, bytes]:
        return {name: data for name, data in contents(tmp_path).items() if not name.startswith(".")}

    sink = open_sinks(*plan_of(tmp_path, fmt, overwrite=True), None, "fake")
    sink.write(result(7))
    assert without_partials() == old
    sink.abort()
    assert contents(tmp_path) == old

    sink = open_sinks(*plan_of(tmp_path, fmt, overwrite=True), None, "fake")
    sink.write(result(7))
    sink.commit()
    assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in paths)
    assert not any(old.get(name) == data for name, data in contents(tmp_path).items())


@pytest.mark.parametrize("fmt", FORMATS)
def test_what_appears_meanwhile_is_not_overwritten(tmp_path: Path, fmt: str):
    plan, info, config = plan_of(tmp_path, fmt)
    sink = open_sinks(plan, info, config)
    sink.write(result(0))
    if plan.outputs[0].by_frame:
        plan.paths[0].mkdir()
        (plan.paths[0] / "theirs").write_text("theirs")
    else:
        plan.paths[0].write_text("theirs")
    before = {name: data for name, data in contents(tmp_path).items() if data == b"theirs"}
    with pytest.raises(OutputError, match="appeared"):
        sink.commit()
    sink.abort()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_same_maps_give_the_same_bytes(tmp_path: Path, fmt: str):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_all(tmp_path / name, fmt, frames=5)
    first, second = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert first
    assert first == second


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_result_without_the_map_is_a_fault_that_is_told(tmp_path: Path, fmt: str):
    sink = open_sinks(*plan_of(tmp_path, fmt))
    whole = result(0)
    with pytest.raises(ValueError, match="frame 0 has no normal map"):
        sink.write(Result(whole.frame, Maps(whole.maps.depth)))
    sink.abort()
    assert os.listdir(tmp_path) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_disk_that_fills_up_is_one_clear_error_and_leaves_nothing(tiny_disk: Path, fmt: str):
    info = info_of(tiny_disk / "in.mp4", size=(240, 320))
    config = RunConfig(format=fmt, maps=("depth", "normal"))  # type: ignore[arg-type]
    sink = open_sinks(plan_outputs(info, config), info, config)

    def fill_up() -> None:
        for number in range(100):
            sink.write(result(number, (240, 320), noise=True))

    with pytest.raises(OutputError, match="disk full") as caught:
        fill_up()
    assert caught.value.exit_code == 5
    assert caught.value.__cause__ is not None
    assert visible(tiny_disk) == []
    sink.abort()
    assert os.listdir(tiny_disk) == []


def test_a_disk_that_fills_up_only_at_the_end_is_the_same_error(tiny_disk: Path):
    """An npz is put together at commit; the encoder of an mp4 still holds frames back then."""
    info, config = info_of(tiny_disk / "in.mp4", size=(100, 100)), RunConfig(format="npz")
    sink = open_sinks(plan_outputs(info, config), info, config)
    for number in range(3):
        sink.write(result(number, (100, 100)))
    with pytest.raises(OutputError, match="disk full"):
        sink.commit()
    sink.abort()
    assert os.listdir(tiny_disk) == []


@pytest.mark.parametrize("fmt", ["mp4", "exr", "npz"])
def test_killed_in_the_middle_it_leaves_only_hidden_names(tmp_path: Path, fmt: str):
    script = f"""
import os, signal
from pathlib import Path
from test_write import open_sinks, plan_of, result
sink = open_sinks(*plan_of(Path({str(tmp_path)!r}), {fmt!r}))
for number in range(40):
    sink.write(result(number))
os.kill(os.getpid(), signal.SIGKILL)
"""
    here = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": here})
    assert done.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) != []
    assert visible(tmp_path) == []
    assert write_all(tmp_path, fmt).paths[0].exists()  # what was left is in nobody's way


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    info, config = info_of(tmp_path / "in.mp4"), RunConfig()
    with pytest.raises(OutputError, match="is a file, not a folder"):
        plan_outputs(info, config, f"{tmp_path}/file/below/")
    if Path("/proc/self").exists():  # a folder in which not even root may make files
        with pytest.raises(OutputError, match=r"cannot be written|no permission"):
            open_sinks(plan_outputs(info, config, "/proc/self/out.mp4"), info, config)


# ---- names


def planned(info: StreamInfo, out: str | None = None, **settings: object) -> list[str]:
    return [str(path) for path in plan_outputs(info, RunConfig(**settings), out).paths]  # type: ignore[arg-type]


BOTH = ("depth", "normal")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["in_depth.mp4"]),
        ({"maps": BOTH}, ["in_depth.mp4", "in_normal.mp4"]),
        ({"maps": ("normal",), "format": "ffv1"}, ["in_normal.mkv"]),
        ({"format": "prores"}, ["in_depth.mov"]),
        ({"format": "png", "maps": BOTH}, ["in_depth", "in_normal"]),
        ({"format": "exr", "maps": BOTH}, ["in_geometry"]),
        ({"format": "exr", "maps": ("normal",)}, ["in_normal"]),
        ({"format": "npz", "maps": BOTH}, ["in_geometry.npz"]),
        ({"format": "npz"}, ["in_depth.npz"]),
    ],
)
def test_names_beside_a_video(tmp_path: Path, settings: dict, expected: list[str]):
    assert planned(info_of(tmp_path / "in.mp4"), **settings) == [str(tmp_path / name) for name in expected]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["in_depth.png"]),
        ({"maps": BOTH}, ["in_depth.png", "in_normal.png"]),
        ({"maps": BOTH, "format": "exr"}, ["in_geometry.exr"]),
        ({"format": "mp4"}, ["in_depth.mp4"]),
    ],
)
def test_names_beside_a_still(tmp_path: Path, settings: dict, expected: list[str]):
    assert planned(info_of(tmp_path / "in.jpg", "still"), **settings) == [str(tmp_path / name) for name in expected]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("shots/a", "shots/a_depth.mp4"),
        ("shots/a/", "shots/a_depth.mp4"),
        ("shots/a/plate.%04d.png", "shots/a/plate_depth.mp4"),
        ("shots/a/plate_*.png", "shots/a/plate_depth.mp4"),
        ("shots/a/*.png", "shots/a_depth.mp4"),
        ("shots/a/%d.png", "shots/a_depth.mp4"),
        ("*.png", "../work_depth.mp4"),
        (".", "../work_depth.mp4"),
    ],
)
def test_names_of_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, expected: str):
    (tmp_path / "work/shots/a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert os.path.abspath(planned(info_of(path, "sequence"))[0]) == os.path.abspath(expected)


@pytest.mark.parametrize(
    ("out", "settings", "expected"),
    [
        ("out.mp4", {}, ["out.mp4"]),
        ("out.MP4", {}, ["out.MP4"]),
        ("out.mp4", {"maps": BOTH}, ["out_depth.mp4", "out_normal.mp4"]),
        ("out.mkv", {"maps": BOTH}, ["out_depth.mkv", "out_normal.mkv"]),
        ("out.mov", {}, ["out.mov"]),
        ("out.npz", {"maps": BOTH}, ["out.npz"]),
        ("out.exr", {"maps": BOTH}, ["out"]),
        ("there", {}, ["there/in_depth.mp4"]),
        ("there/", {"format": "npz"}, ["there/in_depth.npz"]),
        ("has.dot", {}, ["has.dot/in_depth.mp4"]),
        ("new.d/", {}, ["new.d/in_depth.mp4"]),
    ],
)
def test_names_with_o(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, settings: dict, expected: list[str]):
    (tmp_path / "has.dot").mkdir()
    monkeypatch.chdir(tmp_path)
    assert planned(info_of("in.mp4"), out, **settings) == expected


@pytest.mark.parametrize(
    ("out", "settings", "message"),
    [
        ("out.mkv", {"format": "mp4"}, r"-o out.mkv.*end it in .mp4"),
        ("out.mp5", {}, r"no format has the suffix .mp5.*did you mean .mp4"),
        ("out.%04d.png", {}, "numbered by themselves"),
        (None, {"colormap": "turbo", "format": "exr"}, r"--colormap.*exr holds data.*--format mp4"),
        (None, {"side_by_side": True, "format": "ffv1"}, r"--side-by-side.*--format mp4"),
        (None, {"colormap": "turbo", "maps": ("normal",)}, r"--colormap.*--maps"),
    ],
)
def test_combinations_that_make_no_sense(tmp_path: Path, out: str | None, settings: dict, message: str):
    with pytest.raises(UsageError, match=message):
        planned(info_of(tmp_path / "in.mp4"), out and f"{tmp_path}/{out}" if "%" in str(out) else out, **settings)


@pytest.mark.parametrize("source", ["-", "rtsp://camera/stream", "/dev/video0"])
def test_a_source_that_is_no_file_needs_o(tmp_path: Path, source: str):
    with pytest.raises(UsageError, match="say where the output goes"):
        planned(info_of(source, "live"))
    assert planned(info_of(source, "live"), f"{tmp_path}/x.mp4") == [f"{tmp_path}/x.mp4"]
    assert planned(info_of(source, "live"), f"{tmp_path}/")[0].endswith("_depth.mp4")


def test_the_source_is_never_written_onto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "in.mp4"
    source.write_bytes(b"film")
    (tmp_path / "other.mp4").symlink_to(source)
    for out in (source, tmp_path / "other.mp4"):
        with pytest.raises(OutputError, match="the source itself"):
            planned(info_of(source), str(out), overwrite=True)
    frames = tmp_path / "plate_depth"
    frames.mkdir()
    (frames / "plate.0001.png").write_bytes(b"frame")
    pattern = str(frames / "plate.%04d.png")
    with pytest.raises(OutputError, match="the source itself"):
        planned(info_of(pattern, "sequence"), f"{tmp_path}/plate_depth.png", overwrite=True)


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path: Path):
    folder = tmp_path / "in_depth"
    folder.mkdir()
    (folder / "in_depth.0001.png").write_bytes(b"")
    info = info_of(tmp_path / "in.mp4")
    assert planned(info, format="png", overwrite=True) == [str(folder)]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        planned(info, format="png", overwrite=True)


def test_a_folder_in_the_place_of_a_file_and_the_other_way_round(tmp_path: Path):
    (tmp_path / "in_depth.mp4").mkdir()
    (tmp_path / "in_depth").write_text("a file")
    info = info_of(tmp_path / "in.mp4")
    with pytest.raises(OutputError, match="is a folder already"):
        planned(info, overwrite=True)
    with pytest.raises(OutputError, match="is a file already"):
        planned(info, format="png", overwrite=True)
