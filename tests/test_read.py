"""The reader on films and stills made here, each with one property that readers get wrong."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from lotus2_video.errors import InputError, Lotus2VideoError, TruncatedInput, UsageError
from lotus2_video.prefetch import prefetch
from lotus2_video.read import AudioTap, Source, open_source, probe
from lotus2_video.read.colour import linear_to_display, nits_to_pq, pq_to_nits
from lotus2_video.read.timing import Clock, exact_rate

H, W = 48, 64


def picture(i: int, height: int = H, width: int = W) -> np.ndarray:
    """uint8 [h,w,3]: no symmetry, so that every wrong turn shows, and a bar whose place tells i."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 60)], -1).astype(np.uint8)
    rgb[height // 2 :, (i * 3) % width : (i * 3) % width + 3] = 255
    return rgb


def write_video(
    path: Path,
    times: Sequence[int],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    time_base: Fraction = Fraction(1, 600),
    rate: int = 25,
    options: dict[str, str] | None = None,
    setup: Callable[[av.VideoStream], None] = lambda stream: None,
    make: Callable[[int], np.ndarray] = picture,
    sound: bool = False,
) -> Path:
    """A film whose i-th picture is `make(i)`, shown at `times[i]` ticks."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = make(0).shape[:2]
        stream.pix_fmt, stream.time_base, stream.codec_context.time_base = pix_fmt, time_base, time_base
        setup(stream)
        voice = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for i, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(make(i), "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = pts, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice is not None:
            seconds = float(times[-1] * time_base) + 0.1
            for k in range(int(seconds * 8000) // 1024):
                tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                tone.sample_rate, tone.pts, tone.time_base = 8000, k * 1024, Fraction(1, 8000)
                container.mux(voice.encode(tone))
            container.mux(voice.encode(None))
    return path


def steady(count: int, step: int = 24) -> list[int]:
    return [i * step for i in range(count)]


def write_stills(folder: Path, names: Sequence[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), picture(i)[..., ::-1])
    return folder


# The contract of a source, for every kind there is


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Puts bytes on standard input, through a real pipe that cannot seek."""
    opened: list[threading.Thread] = []

    def feed(data: bytes) -> None:
        reading, writing = os.pipe()

        def write() -> None:
            try:
                with os.fdopen(writing, "wb") as stream:
                    stream.write(data)
            except BrokenPipeError:
                return

        thread = threading.Thread(target=write)
        thread.start()
        opened.append(thread)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(os.fdopen(reading, "rb")))

    yield feed
    sys.stdin.close()
    for thread in opened:
        thread.join()


KINDS = ["video", "stdin", "still", "folder", "printf", "glob"]


@pytest.fixture(params=KINDS)
def any_path(request: pytest.FixtureRequest, tmp_path: Path, pipe: Callable[[bytes], None]) -> str:
    """A path of each kind that `open_source` takes, of 64x48, five frames (the still: one)."""
    if request.param in ("video", "stdin"):
        film = write_video(tmp_path / "film.mkv", steady(5))
        if request.param == "video":
            return str(film)
        pipe(film.read_bytes())
        return "-"
    folder = write_stills(tmp_path / "shot", [f"shot.{n:04d}.png" for n in range(1001, 1006)])
    paths = {"still": "shot.1001.png", "folder": "", "printf": "shot.%04d.png", "glob": "*.png"}
    return str(folder / paths[request.param])


def test_contract_describes_itself_before_it_is_read(any_path: str) -> None:
    with open_source(any_path) as source:
        assert (source.info.width, source.info.height) == (W, H)
        assert source.info.time_base > 0
        assert isinstance(source.audio, AudioTap)
        assert source.warnings == []


def test_contract_gives_frames_in_order_and_in_shape(any_path: str) -> None:
    with open_source(any_path) as source:
        frames = list(source)
    assert len(frames) == (1 if source.info.kind == "still" else 5)
    assert all(f.size == (H, W) and f.rgb.flags.c_contiguous for f in frames)
    assert all(a.pts < b.pts and a.index < b.index for a, b in pairwise(frames))
    assert frames[0].seconds == 0
    assert all(np.abs(f.rgb.astype(int) - picture(i)).mean() < 8 for i, f in enumerate(frames))
    assert {f.time_base for f in frames} == {source.info.time_base}


def test_contract_may_be_closed_at_any_time_and_twice(any_path: str) -> None:
    source: Source = open_source(any_path)
    frames = iter(source)
    first = next(frames)
    kept = first.rgb.copy()
    source.close()
    source.close()
    with pytest.raises(StopIteration):
        next(frames)
    assert np.array_equal(first.rgb, kept), "the frame outlives its source"


def test_contract_may_be_closed_unread(any_path: str) -> None:
    open_source(any_path).close()


def test_contract_is_read_in_another_thread(any_path: str) -> None:
    with open_source(any_path) as source, prefetch(iter(source)) as ahead:
        assert len(list(ahead)) == source.info.frames or source.info.frames is None


def test_contract_closing_while_another_thread_reads_is_safe(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", steady(60))
    for _ in range(10):
        source = open_source(str(film))
        reader = threading.Thread(target=lambda frames: list(frames), args=(iter(source),))
        reader.start()
        source.close()
        reader.join()


def test_contract_ranges_are_half_open(any_path: str) -> None:
    low, high, shown = (0.0, 0.04, [0]) if any_path.endswith("1001.png") else (0.04, 0.12, [1, 2])
    with open_source(any_path, fps=25, start=low, end=high) as source:
        assert [f.seconds for f in source] == [Fraction(i, 25) for i in shown]


def test_contract_a_range_without_frames_is_an_input_error(any_path: str) -> None:
    with pytest.raises(InputError, match="no frame between"):
        open_source(any_path, start=100.0)


# Time


def test_variable_rate_keeps_every_time(tmp_path: Path) -> None:
    times = [0, 20, 40, 140, 145, 300, 600]
    with open_source(str(write_video(tmp_path / "vfr.mov", times))) as source:
        frames = list(source)
    assert [f.seconds for f in frames] == [Fraction(t, 600) for t in times]
    assert probe(str(tmp_path / "vfr.mov")).constant_rate is False


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("mp4", "libx264", {"bf": "3", "g": "12", "x264-params": "open-gop=1:b-pyramid=normal"}),
        ("mkv", "libx264", {"bf": "3", "g": "12", "x264-params": "open-gop=1"}),
        ("ts", "libx264", {"bf": "2", "g": "10"}),
        ("mpg", "mpeg2video", {"bf": "2", "g": "12"}),
        ("mp4", "libx265", {"x265-params": "log-level=none:keyint=12:bframes=4:open-gop=1"}),
        ("avi", "mpeg4", {"bf": "2", "g": "10"}),
    ],
)
def test_a_range_found_by_seeking_is_a_slice_of_the_whole(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    """Containers seek by decoding time, and pictures before a key picture may lack what they were predicted from."""
    film = write_video(
        tmp_path / f"film.{suffix}", steady(60, 1), codec=codec, options=options, time_base=Fraction(1, 25)
    )
    with open_source(str(film)) as source:
        whole = list(source)
    assert len(whole) == 60
    for low in range(1, 60, 4):
        with open_source(
            str(film), start=float(whole[low].seconds), end=float(whole[min(low + 3, 59)].seconds)
        ) as source:
            found = list(source)
        # a float is taken as the decimal it prints as, which may lie just above or below the exact time of a frame
        pts = {f.pts for f in found}
        assert pts & {f.pts for f in whole[low : low + 3]}
        by_pts = {f.pts: f for f in whole}
        assert all(np.array_equal(f.rgb, by_pts[f.pts].rgb) for f in found)
        assert found[0].pts in (whole[low].pts, whole[min(low + 1, 59)].pts)


def test_start_is_in_the_time_of_the_source_and_decimal(tmp_path: Path) -> None:
    film = write_video(tmp_path / "late.mkv", [1500 + 100 * i for i in range(10)], time_base=Fraction(1, 1000))
    with open_source(str(film), start=1.7, end=2.1) as source:
        assert [f.seconds for f in source] == [Fraction(n, 10) for n in (17, 18, 19, 20)]


def test_clock_shifts_after_a_jump_back_and_nudges_an_overlap() -> None:
    clock = Clock(step=10, jump=100)
    assert [clock.tick(t, t) for t in (500, 510, 505, 520, 0, 10)] == [500, 510, 511, 520, 530, 540]
    assert clock.repaired
    assert [Clock(10, 100, count=True).tick(7, 7)] == [0]


@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        (24, Fraction(24)), (23.976, Fraction(24000, 1001)), (23.98, Fraction(24000, 1001)), (25.0, Fraction(25)),
        (29.97, Fraction(30000, 1001)), (59.94, Fraction(60000, 1001)), (12.5, Fraction(25, 2)), (24.5, Fraction(49, 2)),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
    ],
)  # fmt: skip
def test_rates_are_exact(fps: float | Fraction, exact: Fraction) -> None:
    assert exact_rate(fps) == exact


def test_a_rate_that_is_no_rate_is_refused() -> None:
    with pytest.raises(UsageError):
        exact_rate(0.0)


# The picture as a viewer shows it


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("mirror", [False, True])
def test_all_eight_orientations_come_upright(tmp_path: Path, degrees: int, mirror: bool) -> None:
    """Degrees are counter-clockwise; the mirroring left to right comes after the turn."""
    film = write_video(
        tmp_path / "turned.mp4", steady(2), setup=lambda s: s.set_display_rotation(degrees, hflip=mirror)
    )
    with open_source(str(film)) as source:
        shown = next(iter(source)).rgb
        clockwise = source.info.rotation
    wanted = np.rot90(picture(0), degrees // 90)
    wanted = wanted[:, ::-1] if mirror else wanted
    assert shown.shape == wanted.shape == (source.info.height, source.info.width, 3)
    assert np.abs(shown.astype(int) - wanted).mean() < 8
    again = np.rot90(picture(0)[:, ::-1] if mirror else picture(0), -clockwise // 90)
    assert np.array_equal(again, wanted), "the stated rotation is the one applied"


@pytest.mark.parametrize(
    ("aspect", "shown"), [(Fraction(4, 3), (H, 85)), (Fraction(1, 2), (96, W)), (Fraction(1), (H, W))]
)
def test_anamorphic_pictures_get_square_pixels(tmp_path: Path, aspect: Fraction, shown: tuple[int, int]) -> None:
    def setup(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    with open_source(str(write_video(tmp_path / "wide.mp4", steady(3), setup=setup))) as source:
        assert {f.size for f in source} == {shown}
        assert source.info.pixel_aspect == aspect


# H.273: matrix code, luma weights of red and blue
MATRICES = {"bt709": (1, 0.2126, 0.0722), "smpte170m": (6, 0.299, 0.114), "bt2020nc": (9, 0.2627, 0.0593)}
PATCHES = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 128, 128], [200, 120, 60]])


def coded_patches(path: Path, pix_fmt: str, matrix: str | None, full: bool, transfer: int = 2, shape=(H, 112)) -> Path:
    """A film of PATCHES side by side, converted to YCbCr here, by the book (ITU-T H.273), coded without loss."""
    code, kr, kb = MATRICES[matrix or "smpte170m"]
    height, width = shape
    rgb = PATCHES / 255.0
    y = rgb @ np.array([kr, 1 - kr - kb, kb])
    cb, cr = (rgb[:, 2] - y) / (2 * (1 - kb)), (rgb[:, 0] - y) / (2 * (1 - kr))
    bits = 10 if "10" in pix_fmt else 8
    unit, top = 2 ** (bits - 8), 2**bits - 1
    luma = y * top if full else (16 + 219 * y) * unit
    chroma = [c * top + 128 * unit if full else (128 + 224 * c) * unit for c in (cb, cr)]
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, values in zip(frame.planes, [luma, *chroma], strict=True):
        row = np.repeat(np.clip(np.rint(values), 0, top), plane.width // len(PATCHES))
        lines = np.zeros((plane.height, plane.line_size // (1 + (bits > 8))), np.uint8 if bits == 8 else np.uint16)
        lines[:, : len(row)] = row
        plane.update(lines.tobytes())
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.colorspace = 2 if matrix is None else code
        stream.codec_context.color_range = 2 if full else 1
        stream.codec_context.color_trc = transfer
        frame.colorspace, frame.color_range = stream.codec_context.colorspace, stream.codec_context.color_range
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def seen_patches(path: Path) -> np.ndarray:
    with open_source(str(path)) as source:
        rgb = next(iter(source)).rgb
    step = rgb.shape[1] // len(PATCHES)
    return rgb[rgb.shape[0] // 2, step // 2 :: step].astype(int)[: len(PATCHES)]


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le", "yuv444p10le"])
def test_colour_follows_matrix_range_and_depth_of_the_file(
    tmp_path: Path, pix_fmt: str, matrix: str, full: bool
) -> None:
    seen = seen_patches(coded_patches(tmp_path / "patches.mkv", pix_fmt, matrix, full))
    assert np.abs(seen - PATCHES).max() <= 3


def test_untagged_pictures_are_bt601_when_small_and_bt709_when_large(tmp_path: Path) -> None:
    small = seen_patches(coded_patches(tmp_path / "small.mkv", "yuv444p", None, False))
    assert np.abs(small - PATCHES).max() <= 3
    large = seen_patches(coded_patches(tmp_path / "large.mkv", "yuv444p", None, False, shape=(720, 1344)))
    assert np.abs(large - PATCHES).max() > 20, "coded as BT.601, read as BT.709"


def test_pq_is_noticed_and_tone_mapped(tmp_path: Path) -> None:
    film = coded_patches(tmp_path / "pq.mkv", "yuv444p10le", "bt2020nc", False, transfer=16)
    with open_source(str(film)) as source:
        assert source.info.hdr
        assert source.info.transfer == "smpte2084"
        assert [line for line in source.warnings if "HDR" in line]
    grey = seen_patches(film)[5]  # PQ code 128/255 is 94 nits, against a white of 203
    assert np.ptp(grey) <= 1
    assert abs(grey[0] - 180) < 8


def test_hlg_is_noticed_and_kept(tmp_path: Path) -> None:
    film = coded_patches(tmp_path / "hlg.mkv", "yuv444p10le", "bt2020nc", False, transfer=18)
    with open_source(str(film)) as source:
        assert source.info.hdr
        assert len(source.warnings) == 1
    assert np.abs(seen_patches(film) - PATCHES).max() <= 3


def test_pq_is_that_of_st2084() -> None:
    nits = np.array([0.0, 0.1, 100.0, 203.0, 1000.0, 10000.0])
    assert np.allclose(nits_to_pq(nits)[2:], [0.5081, 0.5807, 0.7518, 1.0], atol=1e-4)
    assert np.allclose(pq_to_nits(nits_to_pq(nits)), nits, rtol=1e-6, atol=1e-9)


def test_interlaced_film_is_made_whole_frame_for_frame(tmp_path: Path) -> None:
    """A bar that moves 8 pixels between the fields makes a comb; a deinterlaced picture has almost none."""

    def woven(i: int) -> np.ndarray:
        rgb = np.zeros((96, 128, 3), np.uint8)
        for field in (0, 1):
            x = 8 + 8 * i + 4 * field
            rgb[field::2, x : x + 16] = 255
        return rgb

    def setup(stream: av.VideoStream) -> None:
        stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct

    options = {"x264-params": "interlaced=1:tff=1", "crf": "4"}
    film = write_video(tmp_path / "woven.mp4", steady(10), make=woven, options=options, setup=setup)
    with open_source(str(film)) as source:
        frames = list(source)
        assert source.info.interlaced
        assert any("interlaced" in line for line in source.warnings)
    assert [f.seconds for f in frames] == [Fraction(i, 25) for i in range(10)]
    luma = frames[5].rgb[..., 1].astype(int)
    comb = np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) // 2).mean()
    coded = woven(5)[..., 1].astype(int)
    assert comb < 0.25 * np.abs(coded[1:-1] - (coded[:-2] + coded[2:]) // 2).mean()


def test_a_cover_picture_is_not_the_film(tmp_path: Path) -> None:
    def add_cover(path: Path, with_film: bool) -> Path:
        with av.open(str(path), "w") as container:
            cover = container.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 200, 200, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
            film = container.add_stream("mpeg4", rate=25) if with_film else container.add_stream("aac", rate=8000)
            if with_film:
                film.width, film.height = W, H
            container.mux(cover.encode(av.VideoFrame.from_ndarray(picture(0, 200, 200), "rgb24")))
            for i in range(3 if with_film else 0):
                container.mux(film.encode(av.VideoFrame.from_ndarray(picture(i), "rgb24")))
            container.mux(film.encode(None))
        return path

    with open_source(str(add_cover(tmp_path / "film.mp4", True))) as source:
        assert [f.size for f in source] == [(H, W)] * 3
    with pytest.raises(InputError, match="no video stream"):
        open_source(str(add_cover(tmp_path / "song.mp4", False)))


# Sound


def test_all_audio_passes_the_tap_in_the_same_pass(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", steady(50), sound=True)
    with av.open(str(film)) as container:
        sound = [(p.pts, bytes(p)) for p in container.demux(audio=0) if p.size]
    with open_source(str(film)) as source:
        assert source.info.audio[0].codec == "aac"
        (index,) = (stream.index for stream in source.audio.streams)
        taken = [p for _ in source for p in source.audio.take()] + source.audio.take()
    assert [(p.pts, bytes(p)) for p in taken] == sound
    assert {p.stream_index for p in taken} == {index}, "safe to ask after the source was closed"


def test_audio_of_a_range_is_only_what_lies_within(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", steady(100), sound=True)
    with av.open(str(film)) as container:
        sound = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.size]
    with open_source(str(film), start=1.0, end=2.0) as source:
        assert len(list(source)) == 25
        taken = [float(p.pts * p.time_base) for p in source.audio.take()]
    assert taken == [t for t in sound if 1.0 <= t < 2.0]


def test_ignored_audio_does_not_pile_up(tmp_path: Path) -> None:
    with open_source(str(write_video(tmp_path / "film.mp4", steady(50), sound=True))) as source:
        source.audio.ignore()
        list(source)
        assert source.audio.take() == []


# Films that are broken


def cut(film: Path, share: float) -> Path:
    data = film.read_bytes()
    short = film.with_name(f"cut{film.suffix}")
    short.write_bytes(data[: int(len(data) * share)])
    return short


def frames_until_broken(path: Path) -> tuple[list[int], TruncatedInput]:
    pts: list[int] = []
    with open_source(str(path)) as source, pytest.raises(TruncatedInput) as caught:
        pts.extend(f.pts for f in source)
    return pts, caught.value


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("bframes", ["0", "3"])
def test_a_cut_film_gives_a_start_of_the_whole_then_counts_the_loss(tmp_path: Path, share: float, bframes: str) -> None:
    options = {"bf": bframes, "g": "20", "crf": "10"}
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height = W, H
        for i in range(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i), "rgb24")))
        container.mux(stream.encode(None))
    pts, error = frames_until_broken(cut(film, share))
    with open_source(str(film)) as source:
        whole = [f.pts for f in source]
    assert 0 < len(pts) < 60
    assert set(pts) <= set(whole)
    sure = max(0, len(pts) - 4)
    assert pts[:sure] == whole[:sure], "only the last few may lack what they were predicted from"
    assert f"after {len(pts)} of 60 frames, {60 - len(pts)} are lost" in str(error)
    assert error.exit_code == 6


def test_a_cut_matroska_film_tells_by_its_stated_length(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mkv", steady(100), options={"g": "10", "bf": "0"})
    with open_source(str(film)) as source:
        assert len(list(source)) == 100, "the whole one is not called broken"
    pts, error = frames_until_broken(cut(film, 0.5))
    assert f"about {100 - len(pts)} are lost" in str(error)


def test_frames_damaged_midway_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mov", steady(40), codec="png", pix_fmt="rgb24")
    with av.open(str(film)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    film.write_bytes(film.read_bytes().replace(packets[10], bytes(len(packets[10]))))
    pts, error = frames_until_broken(film)
    assert len(pts) == 39
    assert "1 of its frames cannot be decoded, 39 were read" in str(error)


# Stills


def test_frames_of_a_folder_come_in_natural_order_with_their_own_numbers(tmp_path: Path) -> None:
    folder = write_stills(tmp_path / "shot", ["s1.png", "s2.png", "s10.png", "s9.png"])
    (folder / "notes.txt").write_text("no image")
    (folder / ".s3.png").write_bytes(b"hidden, no image either")
    with open_source(str(folder), fps=23.976) as source:
        frames = list(source)
        assert source.info.kind == "sequence"
    assert [f.index for f in frames] == [1, 2, 9, 10]
    assert [f.pts for f in frames] == [0, 1, 2, 3]
    assert {f.time_base for f in frames} == {Fraction(1001, 24000)}
    assert np.array_equal(frames[2].rgb, picture(3)), "s9 was written last"
    assert len(source.warnings) == 1
    assert "3-8" in source.warnings[0]


def test_the_frame_number_is_the_group_of_digits_that_rises(tmp_path: Path) -> None:
    folder = write_stills(tmp_path / "shot", ["v2_0101_2k.png", "v2_0102_2k.png", "v2_0103_2k.png"])
    with open_source(str(folder)) as source:
        assert [f.index for f in source] == [101, 102, 103]
        assert source.warnings == []


def test_every_second_frame_is_no_gap(tmp_path: Path) -> None:
    folder = write_stills(tmp_path / "shot", [f"{n}.png" for n in (1, 3, 5, 9)])
    with open_source(str(folder)) as source:
        assert ["missing: 7;" in line for line in source.warnings] == [True]


def test_a_printf_pattern_takes_only_its_own_files(tmp_path: Path) -> None:
    folder = write_stills(tmp_path / "shot", ["a.0001.png", "a.0002.png", "a.3.png", "b.0001.png", "a.10000.png"])
    with open_source(str(folder / "a.%04d.png")) as source:
        assert [f.index for f in source] == [1, 2, 10000]


def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path) -> None:
    values = np.array([0, 128, 129, 257, 32768, 65535 - 128, 65535 - 129, 65535], np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), np.repeat(values[None, :, None], 3, 2))
    with open_source(str(tmp_path / "deep.png")) as source:
        assert next(iter(source)).rgb[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255, 254, 255]


def test_colour_under_alpha_is_kept(tmp_path: Path) -> None:
    bgra = np.dstack([picture(0)[..., ::-1], np.zeros((H, W), np.uint8)])
    cv2.imwrite(str(tmp_path / "clear.png"), bgra)
    with open_source(str(tmp_path / "clear.png")) as source:
        assert np.array_equal(next(iter(source)).rgb, picture(0))


def test_grey_stills_become_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.tif"), picture(0)[..., 0])
    with open_source(str(tmp_path / "grey.tif")) as source:
        assert np.array_equal(next(iter(source)).rgb, np.repeat(picture(0)[..., :1], 3, 2))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    """Orientation 6: the camera was held upright, the stored picture must be turned 90 degrees clockwise."""
    _, coded = cv2.imencode(".jpg", picture(0)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    tiff = b"MM\x00*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\x00\x00" + tiff
    jpeg = coded.tobytes()
    (tmp_path / "phone.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    with open_source(str(tmp_path / "phone.jpg")) as source:
        shown = next(iter(source)).rgb
        assert (source.info.width, source.info.height) == (H, W)
    assert np.abs(shown.astype(int) - np.rot90(picture(0), -1)).mean() < 8


def write_exr(path: Path, channels: dict[str, np.ndarray], **header: object) -> Path:
    OpenEXR = pytest.importorskip("OpenEXR")
    with OpenEXR.File({"type": OpenEXR.scanlineimage, **header}, channels) as file:
        file.write(str(path))
    return path


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_linear_exr_is_encoded_to_srgb(tmp_path: Path, kind: type) -> None:
    linear = np.array([0.0, 0.0031308, 0.18, 0.5, 1.0, 8.0, -1.0, np.nan], kind)
    rgb = np.repeat(np.repeat(linear[None], 4, 0)[..., None], 3, 2)
    write_exr(tmp_path / "shot.exr", {"RGB": np.ascontiguousarray(rgb)})
    with open_source(str(tmp_path / "shot.exr")) as source:
        assert next(iter(source)).rgb[0, :, 1].tolist() == [0, 10, 118, 188, 255, 255, 0, 0]


def test_exr_layers_and_windows(tmp_path: Path) -> None:
    """The colour of the first layer, cut to the display window as a viewer does."""
    layer = np.ones((6, 8, 3), np.float16)
    window = {"displayWindow": ((0, 0), (7, 5)), "dataWindow": ((2, 1), (9, 6))}
    windows = {k: (np.array(a, np.int32), np.array(b, np.int32)) for k, (a, b) in window.items()}
    depth = np.zeros((6, 8), np.float32)
    write_exr(tmp_path / "shot.exr", {"beauty.RGB": layer, "depth.Z": depth}, **windows)
    with open_source(str(tmp_path / "shot.exr")) as source:
        rgb = next(iter(source)).rgb
    wanted = np.zeros((6, 8, 3), np.uint8)
    wanted[1:, 2:] = 255
    assert np.array_equal(rgb, wanted)


def test_the_half_table_is_the_srgb_curve() -> None:
    linear = np.linspace(0, 1, 500, dtype=np.float32)
    exact = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    assert np.abs(linear_to_display(linear) - exact).max() < 0.6


def test_a_frame_of_another_size_is_named(tmp_path: Path) -> None:
    folder = write_stills(tmp_path / "shot", ["f1.png", "f2.png"])
    cv2.imwrite(str(folder / "f3.png"), picture(0, H + 2, W))
    with open_source(str(folder)) as source:
        frames = iter(source)
        assert [next(frames).index, next(frames).index] == [1, 2]
        with pytest.raises(InputError, match=r"f3\.png: is 64x50, the frames before are 64x48"):
            next(frames)


# What is refused


def empty(folder: Path) -> str:
    (folder / "void").mkdir()
    return str(folder / "void")


def garbage(name: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / name).write_bytes(b"this is no picture, whatever its name says" * 9)
        return str(folder / name)

    return make


def headless(folder: Path) -> str:
    """A film of which only the header was written."""
    with av.open(str(folder / "empty.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = W, H
        container.start_encoding()
    return str(folder / "empty.avi")


REFUSED: dict[str, tuple[Callable[[Path], str], str]] = {
    "missing": (lambda folder: str(folder / "no.mp4"), "no such file"),
    "an empty folder": (empty, "no images"),
    "a pattern of nothing": (lambda folder: str(folder / "a.%04d.png"), "no image"),
    "a glob of nothing": (lambda folder: str(folder / "*.png"), "no image"),
    "no image": (garbage("a.png"), "not an image"),
    "no EXR": (garbage("a.exr"), "not an EXR"),
    "no video": (garbage("a.mp4"), "not a video"),
    "no frames": (headless, "no frames"),
    "a name too long": (lambda folder: str(folder / ("x" * 400)), "too long"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_line_with_a_hint(tmp_path: Path, case: str) -> None:
    make, words = REFUSED[case]
    path = make(tmp_path)
    for call in (open_source, probe):
        with pytest.raises(Lotus2VideoError) as caught:
            call(path)
        assert isinstance(caught.value, InputError)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_pipe_with_the_index_at_its_end_is_refused_with_a_way_out(
    tmp_path: Path, pipe: Callable[[bytes], None]
) -> None:
    film = write_video(tmp_path / "film.mp4", steady(30)).read_bytes()
    (size,) = struct.unpack(">I", film[:4])
    ballast = struct.pack(">I4s", 8 + (4 << 20), b"free") + bytes(4 << 20)  # more than is read ahead of a pipe
    pipe(film[:size] + ballast + film[size:])
    with pytest.raises(InputError, match="faststart"):
        open_source("-")


def test_an_empty_pipe_is_refused(pipe: Callable[[bytes], None]) -> None:
    pipe(b"")
    with pytest.raises(InputError, match="standard input"):
        open_source("-")


# Probe, and the weight of an import


def test_probe_counts_where_the_header_does_not(tmp_path: Path) -> None:
    info = probe(
        str(write_video(tmp_path / "film.webm", steady(30, 40), codec="libvpx-vp9", time_base=Fraction(1, 1000)))
    )
    assert (info.frames, info.constant_rate, info.rate) == (30, True, 25)


def test_probe_reads_a_pipe_once(tmp_path: Path, pipe: Callable[[bytes], None]) -> None:
    pipe(write_video(tmp_path / "film.mkv", steady(30)).read_bytes())
    info = probe("-")
    assert (info.frames, info.constant_rate) == (30, True)


def test_importing_the_room_loads_no_decoder() -> None:
    loaded = "import sys, lotus2_video.read; print([m for m in ('av', 'cv2', 'OpenEXR', 'torch') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
