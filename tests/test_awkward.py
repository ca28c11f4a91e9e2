"""Every awkward file is read as its README says, and as the ffprobe and ffmpeg programs show it, or refused in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lotus2_video.errors import InputError, TruncatedInput
from lotus2_video.frames import Frame
from lotus2_video.read import open_source, probe

# file: frames shown, width, height, warnings (a word of each), rate constant
SHOWN: dict[str, tuple[int, int, int, list[str], bool | None]] = {
    "rot90_phone.mp4": (30, 368, 480, [], True),
    "vfr.mp4": (46, 480, 270, [], False),
    "hevc10_hlg.mp4": (30, 640, 360, ["HLG"], True),
    "vp9.webm": (50, 480, 270, [], True),
    "interlaced_mpeg2.mpg": (35, 512, 288, ["interlaced"], True),
    "odd_321x241_444.mp4": (30, 321, 241, [], True),
    "odd_321x241.webm": (30, 321, 241, [], True),
    "anamorphic.mp4": (30, 640, 360, [], True),
    "start_1500ms.mov": (30, 480, 270, [], True),
    "editlist_trim.mov": (20, 480, 270, [], True),
    "truncated_moov_first.mp4": (36, 480, 270, [], True),
    "single_frame.mp4": (1, 854, 480, [], None),
    "alpha_prores4444.mov": (12, 256, 144, [], True),
    "resolution_change.ts": (40, 480, 270, ["backward", "size changes"], False),
    "bframes16.mp4": (60, 480, 270, [], True),
    "raw_no_pts.h264": (40, 426, 240, [], True),
}
REFUSED = {
    "audio_only.mp4": "no video stream (only sound in it)",
    "truncated_moov_last.mp4": "moov atom not found",
    "zero_bytes.mp4": "empty",
    "text.mp4": "not a video",
}
BROKEN_OFF = {"truncated_moov_first.mp4"}
# where ffmpeg is told to do what this reader does by itself
FILTERS = {
    "anamorphic.mp4": ["-vf", "scale=640:360:flags=bicubic"],
    "interlaced_mpeg2.mpg": ["-vf", "bwdif=mode=send_frame:deint=interlaced"],
}


@pytest.fixture(scope="module")
def awkward(shared: Path) -> Path:
    return shared / "videos" / "awkward"


def read_all(path: Path) -> tuple[list[Frame], list[str]]:
    frames: list[Frame] = []
    with open_source(str(path)) as source:
        try:
            frames.extend(source)
        except TruncatedInput:
            assert path.name in BROKEN_OFF
        return frames, source.warnings


def program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"the {name} program is not installed")
    return found


def test_every_file_is_accounted_for(awkward: Path) -> None:
    assert {p.name for p in awkward.iterdir()} - {"README.md"} == set(SHOWN) | set(REFUSED)


@pytest.mark.parametrize("name", SHOWN)
def test_frames_and_size_are_those_of_the_readme(awkward: Path, name: str) -> None:
    count, width, height, words, _ = SHOWN[name]
    frames, warnings = read_all(awkward / name)
    assert len(frames) == count
    assert {f.size for f in frames} == {(height, width)}
    assert [f.index for f in frames] == list(range(count))
    assert len(warnings) == len(words)
    assert all(word in line for word, line in zip(words, warnings, strict=True))


@pytest.mark.parametrize("name", SHOWN)
def test_times_are_those_of_ffprobe(awkward: Path, name: str) -> None:
    command = [program("ffprobe"), "-v", "quiet", "-select_streams", "v:0", "-of", "json"]
    entries = ["-show_entries", "stream=time_base:frame=best_effort_timestamp", str(awkward / name)]
    answer = json.loads(subprocess.run(command + entries, capture_output=True, check=True).stdout)
    tick = Fraction(answer["streams"][0]["time_base"])
    stamps = [f.get("best_effort_timestamp") for f in answer["frames"]]
    frames, _ = read_all(awkward / name)
    if name == "raw_no_pts.h264":
        assert stamps == [None] * 40
        assert [f.seconds for f in frames] == [Fraction(i, 30) for i in range(40)]
        return
    if name == "resolution_change.ts":  # 20 frames, then a second film that begins one frame before the first one ends
        assert stamps[20] < stamps[19]
        stamps[20] = stamps[19] + 1
    assert [(f.pts, f.time_base) for f in frames] == [(stamp, tick) for stamp in stamps]


@pytest.mark.parametrize("name", SHOWN)
def test_pictures_are_those_of_ffmpeg(awkward: Path, name: str) -> None:
    count, width, height, _, _ = SHOWN[name]
    frames, _ = read_all(awkward / name)
    command = [
        program("ffmpeg"),
        "-v",
        "quiet",
        "-i",
        str(awkward / name),
        *FILTERS.get(name, []),
        "-vsync",
        "passthrough",
    ]
    raw = subprocess.run([*command, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"], capture_output=True, check=True).stdout
    theirs = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    assert len(theirs) == count
    for i in {0, count // 3, count // 2, count - 1}:
        apart = np.abs(frames[i].rgb.astype(int) - theirs[i])
        assert apart.mean() < 2.5, f"frame {i}"
        assert np.percentile(apart, 99) < 16, f"frame {i}"


@pytest.mark.parametrize("name", SHOWN)
def test_probe_counts_and_tells_the_rate(awkward: Path, name: str) -> None:
    count, width, height, _, constant = SHOWN[name]
    info = probe(str(awkward / name))
    assert (info.frames, info.width, info.height, info.constant_rate) == (count, width, height, constant)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_that_says_what_where_and_what_to_do(awkward: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(str(awkward / name))
    line = str(caught.value)
    assert REFUSED[name] in line
    assert name in line
    assert caught.value.hint
    assert "\n" not in line


def test_a_file_cut_in_half_gives_what_decodes_then_says_what_is_lost(awkward: Path) -> None:
    with open_source(str(awkward / "truncated_moov_first.mp4")) as source:
        frames = iter(source)
        for _ in range(36):
            next(frames)
        with pytest.raises(TruncatedInput, match="36 of 75 frames, 39 are lost"):
            next(frames)


def test_the_upright_phone_is_described_as_turned(awkward: Path) -> None:
    assert probe(str(awkward / "rot90_phone.mp4")).rotation == 90


def test_hidden_frames_of_an_edit_list_are_not_promised(awkward: Path) -> None:
    with open_source(str(awkward / "editlist_trim.mov")) as source:
        assert source.info.frames == 20


@pytest.mark.parametrize("name", sorted(set(SHOWN) - BROKEN_OFF - {"resolution_change.ts"}))  # its times overlap
def test_a_range_is_the_same_slice_of_the_whole(awkward: Path, name: str) -> None:
    """Seeking must find the very frames that reading from the start would."""
    whole, _ = read_all(awkward / name)
    for low, high in {
        (len(whole) // 2, len(whole)),
        (len(whole) // 4, len(whole) * 3 // 4),
        (len(whole) - 1, len(whole)),
    }:
        wanted = whole[low:high]
        if not wanted:
            continue
        start = float(wanted[0].seconds) - 1e-4
        end = float(whole[high].seconds) - 1e-4 if high < len(whole) else None
        with open_source(str(awkward / name), start=start, end=end) as source:
            found = list(source)
        assert [f.pts for f in found] == [f.pts for f in wanted]
        if name != "interlaced_mpeg2.mpg":  # deinterlacing looks at the frames beside, of which the first has none
            assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(found, wanted, strict=True))
