"""Each format read back by somebody else's reader: exact where it is lossless, with the source's times, sizes and sound."""

import itertools
import json
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import OpenEXR
import pytest

from lotus2_video.config import RunConfig
from lotus2_video.frames import Frame, Maps, Result, StreamInfo
from lotus2_video.read import AudioTap
from lotus2_video.write import Sink, open_sinks, plan_outputs

ffmpeg = pytest.mark.skipif(
    not shutil.which("ffmpeg") or not shutil.which("ffprobe"), reason="needs the ffmpeg programs"
)
BASE = Fraction(1, 15360)


def some_maps(number: int, height: int, width: int) -> Maps:
    depth = np.linspace(0, 0.9, width, dtype=np.float32)[None] + np.linspace(0, 0.05, height, dtype=np.float32)[:, None]
    depth = depth + np.float32(number / 200)
    normal = np.dstack([depth - 0.5, 0.3 - depth, np.ones_like(depth)])
    return Maps(depth, normal / np.linalg.norm(normal, axis=2, keepdims=True))


def write(
    folder: Path,
    fmt: str | None,
    results: Sequence[Maps],
    pts: Sequence[int] | None = None,
    base: Fraction = BASE,
    kind: str = "video",
    numbers: Sequence[int] | None = None,
    rate: Fraction | None = Fraction(30),
    tap: AudioTap | None = None,
    **settings: object,
) -> Sink:
    height, width = results[0].size
    name = "in.%04d.jpg" if kind == "sequence" else "in.mp4"
    info = StreamInfo(f"{folder}/{name}", kind, width, height, base, rate=rate)  # type: ignore[arg-type]
    config = RunConfig(format=fmt, overwrite=True, **settings)  # type: ignore[arg-type]
    sink = open_sinks(plan_outputs(info, config), info, config, tap, "fake")
    for i, each in enumerate(results):
        frame = Frame(numbers[i] if numbers else i, pts[i] if pts else i * 512, base, some_rgb(height, width))
        sink.write(Result(frame, each))
    sink.commit()
    return sink


def some_rgb(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), (200, 100, 50), np.uint8)


def probe(path: Path, entries: str) -> dict:
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_entries", entries, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def decode(path: Path, pix_fmt: str, dtype: type, *shape: int) -> np.ndarray:
    """All frames as the ffmpeg program shows them, [T,*shape]."""
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(path),
        "-f",
        "rawvideo",
        "-fps_mode",
        "passthrough",
        "-pix_fmt",
        pix_fmt,
    ]
    raw = subprocess.run([*command, "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, dtype).reshape(-1, *shape)


def shown_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


# ---- lossless formats, exact


@ffmpeg
def test_ffv1_holds_16_exact_bits(tmp_path: Path):
    maps = [some_maps(i, 50, 70) for i in range(4)]
    depth_file, normal_file = write(tmp_path, "ffv1", maps, maps=("depth", "normal")).paths
    stream = probe(depth_file, "stream=codec_name,pix_fmt,color_range")["streams"][0]
    assert (stream["codec_name"], stream["pix_fmt"], stream["color_range"]) == ("ffv1", "gray16le", "pc")
    depth = decode(depth_file, "gray16le", np.uint16, 50, 70)
    normal = decode(normal_file, "rgb48le", np.uint16, 50, 70, 3)
    assert len(depth) == len(normal) == 4
    for i, each in enumerate(maps):
        assert np.array_equal(depth[i], np.rint(each.depth * np.float32(65535)))
        assert np.abs(normal[i] / 65535 * 2 - 1 - each.normal).max() < 2e-5


@pytest.mark.parametrize("space", ["gl", "cv"])
def test_exr_holds_the_maps_their_times_and_a_preview(tmp_path: Path, space: str):
    maps = [some_maps(i, 20, 30) for i in range(2)]
    sink = write(tmp_path, "exr", maps, pts=[1001, 2**40], base=Fraction(1, 30000), rate=Fraction(30000, 1001),
                 maps=("depth", "normal"), normal_space=space)  # fmt: skip
    files = sorted(sink.paths[0].iterdir())
    assert [file.name for file in files] == ["in_geometry.0001.exr", "in_geometry.0002.exr"]
    for i, file in enumerate(files):
        with OpenEXR.File(str(file), separate_channels=True) as exr:
            header = dict(exr.header())
            pixels = {name: channel.pixels.copy() for name, channel in exr.channels().items()}
        assert set(pixels) == {"disparity.Y", "N.X", "N.Y", "N.Z", "R", "G", "B"}
        assert pixels["disparity.Y"].dtype == np.float32
        assert np.array_equal(pixels["disparity.Y"], maps[i].depth)
        flip = (1, 1, 1) if space == "gl" else (1, -1, -1)
        for axis, name in enumerate("XYZ"):
            assert np.array_equal(pixels[f"N.{name}"], np.float16(maps[i].normal[:, :, axis] * flip[axis]))
        assert pixels["G"].dtype == np.float16
        assert np.allclose(pixels["G"], maps[i].depth, atol=1e-3)
        assert header["framesPerSecond"] == Fraction(30000, 1001)
        assert header["compression"] == OpenEXR.ZIP_COMPRESSION
        assert "chromaticities" not in header
        assert (np.array(header["dataWindow"]) == [(0, 0), (29, 19)]).all()
        ours = {key.partition(":")[2]: value for key, value in header.items() if key.startswith("lotus2video:")}
        assert "near = large" in ours.pop("convention")
        assert ours == {
            "kind": "depth,normal", "source": "in.mp4", "frame": i + 1, "pts": str([1001, 2**40][i]),
            "time_base": "1/30000", "model": "fake", "version": ours["version"], "normal_space": space,
        }  # fmt: skip


def test_exr_of_normals_alone_is_not_black_and_has_no_empty_channel(tmp_path: Path):
    maps = [some_maps(0, 8, 8)]
    sink = write(tmp_path, "exr", maps, maps=("normal",), kind="still")
    assert sink.paths[0].name == "in_normal.exr"
    with OpenEXR.File(str(sink.paths[0]), separate_channels=True) as exr:
        assert set(exr.channels()) == {"N.X", "N.Y", "N.Z", "R", "G", "B"}
        assert exr.channels()["B"].pixels.min() > 0.5


def test_png_holds_16_bits_and_says_what_it_is(tmp_path: Path):
    maps = some_maps(3, 21, 33)
    depth_file, normal_file = write(tmp_path, None, [maps], kind="still", maps=("depth", "normal")).paths
    depth, normal = cv2.imread(str(depth_file), -1), cv2.imread(str(normal_file), -1)
    assert depth.dtype == normal.dtype == np.uint16
    assert np.array_equal(depth, np.rint(maps.depth * np.float32(65535)))
    assert np.abs(normal[:, :, ::-1] / 65535 * 2 - 1 - maps.normal).max() < 2e-5
    assert b"near = large" in depth_file.read_bytes()[:400]
    assert b"+X right, +Y up" in normal_file.read_bytes()[:400]


@pytest.mark.parametrize("fmt", ["png", "exr"])
def test_a_sequence_keeps_its_own_frame_numbers(tmp_path: Path, fmt: str):
    maps = [some_maps(i, 8, 8) for i in range(3)]
    sink = write(tmp_path, fmt, maps, kind="sequence", numbers=[998, 1001, 12345])
    names = sorted(file.name for file in sink.paths[0].iterdir())
    assert names == sorted(f"in_depth.{number}.{fmt}" for number in ("0998", "1001", "12345"))


def test_npz_reads_as_arrays_with_exact_values(tmp_path: Path):
    maps = [some_maps(i, 9, 14) for i in range(5)]
    pts = [100, 612, 613, 5000, 2**40]
    (path,) = write(tmp_path, "npz", maps, pts=pts, maps=("depth", "normal"), normal_space="directx").paths
    with np.load(path) as data:
        assert set(data.files) == {"depth", "normal", "pts", "time_base"}
        assert data["depth"].dtype == data["normal"].dtype == np.float32
        assert np.array_equal(data["depth"], np.stack([m.depth for m in maps]))
        assert np.array_equal(data["normal"], np.stack([m.normal for m in maps]) * np.array([1, -1, 1], np.float32))
        assert data["pts"].tolist() == pts
        assert data["time_base"].tolist() == [1, 15360]


# ---- pictures


@ffmpeg
def test_what_a_player_shows_of_an_mp4_is_the_depth(tmp_path: Path):
    maps = [Maps(np.full((48, 64), value, np.float32)) for value in (0, 0.25, 0.5, 1)]
    (path,) = write(tmp_path, "mp4", maps).paths
    shown = decode(path, "gray", np.uint8, 48, 64).astype(float)
    assert np.abs(shown.mean(axis=(1, 2)) - [0, 63.75, 127.5, 255]).max() < 0.8
    stream = probe(path, "stream=codec_name,codec_tag_string,pix_fmt,color_range,color_space,color_transfer")[
        "streams"
    ][0]
    assert stream == {
        "codec_name": "h264", "codec_tag_string": "avc1", "pix_fmt": "yuv420p",
        "color_range": "tv", "color_space": "bt709", "color_transfer": "bt709",
    }  # fmt: skip
    head = path.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat"), "plays before it is loaded to its end"


def test_the_dither_of_a_slow_gradient_outlives_the_encoder(tmp_path: Path):
    """3 levels of 8 bits across the picture: without dither the decoded ramp has four steps."""
    ramp = np.tile(np.linspace(0.40, 0.41, 640, dtype=np.float32), (96, 1))
    (path,) = write(tmp_path, "mp4", [Maps(ramp)] * 20).paths
    with av.open(str(path)) as container:
        last = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)][-1]
    with av.open(str(path)) as container:
        luma = [np.array(frame.planes[0]).reshape(96, -1)[:, :640] for frame in container.decode(video=0)][-1]
    assert last.shape == (96, 640)
    means = luma.reshape(96, 40, 16).mean(axis=(0, 2))
    truth = 16 + 219 * ramp[0].reshape(40, 16).mean(axis=1)
    assert np.abs(means - truth).max() < 0.25  # rounding alone is off by 0.5
    assert len(np.unique(means.round(2))) > 12


@ffmpeg
@pytest.mark.parametrize("fmt", ["mp4", "prores"])
def test_colormaps_and_the_source_beside_the_map_keep_their_colours(tmp_path: Path, fmt: str):
    maps = [Maps(np.full((48, 64), 0.9, np.float32))] * 3
    (path,) = write(tmp_path, fmt, maps, colormap="turbo", side_by_side=True).paths
    shown = decode(path, "rgb24", np.uint8, 48, 128, 3).astype(int)
    assert len(shown) == 3
    assert np.abs(shown[1, 10:40, 8:56] - (200, 100, 50)).max() <= 4
    expected = cv2.applyColorMap(np.array([[round(0.9 * 255)]], np.uint8), cv2.COLORMAP_TURBO)[0, 0, ::-1].astype(int)
    assert np.abs(shown[1, 10:40, 72:120] - expected).max() <= 5


@ffmpeg
def test_normals_in_an_mp4_are_colours(tmp_path: Path):
    normal = np.zeros((48, 64, 3), np.float32)
    normal[:, :, 2] = 1
    (path,) = write(tmp_path, "mp4", [Maps(normal=normal)] * 2, maps=("normal",)).paths
    shown = decode(path, "rgb24", np.uint8, 48, 64, 3).astype(int)
    assert np.abs(shown - (128, 128, 255)).max() <= 3


@ffmpeg
def test_prores_is_4444_in_12_bits(tmp_path: Path):
    maps = [some_maps(i, 48, 64) for i in range(3)]
    (path,) = write(tmp_path, "prores", maps).paths
    stream = probe(path, "stream=codec_tag_string,pix_fmt,bits_per_raw_sample")["streams"][0]
    assert stream == {"codec_tag_string": "ap4h", "pix_fmt": "yuv444p12le", "bits_per_raw_sample": "12"}
    luma = decode(path, "yuv444p12le", np.uint16, 3, 48, 64)[:, 0].astype(float)
    for i, each in enumerate(maps):
        error = (luma[i] - 256) / 3504 - each.depth
        assert np.sqrt(np.mean(error**2)) < 1 / 1023


@ffmpeg
@pytest.mark.parametrize("fmt", ["mp4", "ffv1", "prores"])
@pytest.mark.parametrize("looks", [{}, {"colormap": "inferno"}])
def test_odd_sizes_survive(tmp_path: Path, fmt: str, looks: dict):
    if fmt == "ffv1" and looks:
        pytest.skip("ffv1 holds data only")
    for height, width in ((241, 321), (240, 321), (241, 320)):
        sink = write(tmp_path, fmt, [some_maps(i, height, width) for i in range(2)], **looks)
        stream = probe(sink.paths[0], "stream=width,height")["streams"][0]
        assert (stream["height"], stream["width"]) == (height, width)
        assert len(decode(sink.paths[0], "rgb24", np.uint8, height, width, 3)) == 2
        assert bool(sink.warnings) == (fmt == "mp4")


def test_a_still_can_be_an_mp4_of_one_frame(tmp_path: Path):
    sink = write(tmp_path, "mp4", [some_maps(0, 48, 64)], pts=[0], base=Fraction(1, 24), kind="still", rate=None)
    assert shown_times(sink.paths[0]) == [0]


# ---- time

VARIABLE = [23040, 23552, 24064, 26112, 26113, 40000]


@ffmpeg
@pytest.mark.parametrize("fmt", ["mp4", "prores"])
@pytest.mark.parametrize("base", [BASE, Fraction(1001, 30000), Fraction(1, 25), Fraction(1, 1000), Fraction(1, 90000)])
def test_mp4_and_mov_keep_every_pts_exactly(tmp_path: Path, fmt: str, base: Fraction):
    """A variable rate that starts late, longer than the encoder looks ahead."""
    pts = VARIABLE + [40000 + 7 * i for i in range(1, 20)]
    maps = [some_maps(i % 5, 32, 32) for i in range(len(pts))]
    (path,) = write(tmp_path, fmt, maps, pts=pts, base=base, rate=1 / base / 500).paths
    assert shown_times(path) == [p * base for p in pts]
    assert [f["pts"] for f in probe(path, "frame=pts")["frames"]] == [p * base.numerator for p in pts]
    assert Fraction(probe(path, "stream=time_base")["streams"][0]["time_base"]) == Fraction(1, base.denominator)


def test_matroska_is_at_most_half_a_millisecond_off(tmp_path: Path):
    (path,) = write(tmp_path, "ffv1", [some_maps(0, 16, 16)] * len(VARIABLE), pts=VARIABLE).paths
    times = shown_times(path)
    assert len(times) == len(VARIABLE)
    for shown, pts in zip(times, VARIABLE, strict=True):
        assert abs(shown - pts * BASE) <= Fraction(1, 2000)
    with av.open(str(path)) as container:
        assert Fraction(container.metadata["TIME_BASE"]) == BASE


@pytest.mark.parametrize("fmt", ["mp4", "ffv1", "prores"])
def test_a_source_that_starts_before_zero_keeps_all_frames(tmp_path: Path, fmt: str):
    pts = [-1536, -1024, -512, 0, 512]
    sink = write(tmp_path, fmt, [some_maps(0, 32, 32)] * 5, pts=pts)
    times = shown_times(sink.paths[0])
    assert len(times) == 5
    assert all(abs(b - a - Fraction(1, 30)) <= Fraction(1, 1000) for a, b in itertools.pairwise(times))
    assert any("before its own zero" in line for line in sink.warnings)


# ---- sound


def make_film(path: Path, codec: str, rate: int = 44100) -> None:
    """Two seconds of black with a click of 20 ms at one second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4" if path.suffix != ".webm" else "libvpx", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=rate)
        audio.layout, audio.bit_rate = "mono", 96_000
        samples = np.zeros((1, 2 * rate), np.float32)
        samples[0, rate : rate + rate // 50] = np.sin(np.arange(rate // 50) * 0.2) * 0.8
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))
            frame.pts = i
            container.mux(video.encode(frame))
            sound = av.AudioFrame.from_ndarray(samples[:, i * rate // 25 : (i + 1) * rate // 25], "fltp", "mono")
            sound.sample_rate, sound.pts = rate, i * rate // 25
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def carry(film: Path, fmt: str, **settings: object) -> Sink:
    """Runs a film through a sink, its audio tapped as a reader does."""
    with av.open(str(film)) as container:
        video = container.streams.video[0]
        tap = AudioTap(tuple(container.streams.audio))
        info = StreamInfo(str(film), "video", 64, 48, Fraction(video.time_base or 1), rate=video.average_rate)
        config = RunConfig(format=fmt, **settings)  # type: ignore[arg-type]
        sink = open_sinks(plan_outputs(info, config, f"{film.parent}/{film.stem}_{fmt}/"), info, config, tap, "fake")
        for packet in container.demux():
            if packet.stream.type == "audio":
                tap.put(packet)
            for frame in packet.decode() if packet.stream.type == "video" else ():
                rgb = some_rgb(48, 64)
                sink.write(Result(Frame(0, frame.pts, info.time_base, rgb), some_maps(0, 48, 64)))
    sink.commit()
    return sink


def sound_packets(path: Path) -> list[tuple[bytes, Fraction]]:
    with av.open(str(path)) as container:
        return [(bytes(p), p.pts * p.time_base) for p in container.demux(audio=0) if p.size]


def click_at(path: Path) -> float:
    """Seconds at which the sound sets in."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.abs(frame.to_ndarray().astype(np.float64).reshape(-1)) > 0.1 * (
                1 if "flt" in frame.format.name else 32768
            )
            if loud.any():
                return float(frame.pts * frame.time_base) + loud.argmax() / frame.sample_rate
    return -1.0


@pytest.mark.parametrize("fmt", ["mp4", "ffv1", "prores"])
def test_aac_is_copied_bit_by_bit_and_stays_with_the_picture(tmp_path: Path, fmt: str):
    film = tmp_path / "film.mp4"
    make_film(film, "aac")
    sink = carry(film, fmt, maps=("depth", "normal"))
    assert sink.warnings == []
    before = sound_packets(film)
    assert before[0][1] < 0, "the priming of AAC lies before zero, which must not move the pictures"
    for path in sink.paths:
        after = sound_packets(path)
        assert [data for data, _ in after] == [data for data, _ in before]
        assert all(abs(a - b) <= Fraction(1, 1000) for (_, a), (_, b) in zip(after, before, strict=True))
        limit = Fraction(1, 2000) if fmt == "ffv1" else 0
        assert all(abs(a - b) <= limit for a, b in zip(shown_times(path), shown_times(film), strict=True))


@pytest.mark.parametrize(("name", "codec"), [("film.mov", "pcm_s16le"), ("film.wmv", "wmav2")])
def test_what_mp4_cannot_carry_becomes_aac_in_time(tmp_path: Path, name: str, codec: str):
    film = tmp_path / name
    make_film(film, codec)
    sink = carry(film, "mp4", maps=("depth", "normal"))
    assert len(sink.warnings) == 1
    assert "turned into AAC" in sink.warnings[0]
    for path in sink.paths:
        with av.open(str(path)) as container:
            assert container.streams.audio[0].codec.canonical_name == "aac"
        assert abs(click_at(path) - click_at(film)) < 0.015
    assert bool(carry(film, "ffv1").warnings) == (codec == "wmav2")  # Matroska holds PCM as it is


def test_formats_without_sound_tell_the_tap(tmp_path: Path):
    film = tmp_path / "film.mp4"
    make_film(film, "aac")
    with av.open(str(film)) as container:
        tap = AudioTap(tuple(container.streams.audio))
        for packet in container.demux(audio=0):
            tap.put(packet)
        write(tmp_path, "npz", [some_maps(0, 8, 8)], tap=tap)
        assert tap.take() == []
