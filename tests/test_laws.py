"""Laws 1, 4 and 6 of the house, bit for bit on the CPU, with the fake predictor and with the mini.

1. Same frame, same bits: a map does not depend on batch, chunk length, queue, worker or neighbours.
4. Causal and bounded: the first T frames of a film give the first T maps of the whole; memory does not grow with length.
6. Time is the source's: every frame shown gives exactly one frame out, with its pts.
"""

import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import film, picture, seconds_of, stills

import lotus2_video
from lotus2_video import Job, ModelOptions, RunConfig, make_predictor, open_source, run_video
from lotus2_video.engines.local import LocalEngine
from lotus2_video.read import AudioTap

MODELS = ("fake", "mini")


@pytest.fixture(params=MODELS)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return film(tmp_path_factory.mktemp("laws") / "clip.mp4", frames=22)


def depths(path: Path, **settings) -> np.ndarray:
    return np.stack([result.depth for result in lotus2_video.estimate(str(path), **settings)])


# ------------------------------------------------------------------------------------------------ 1: same frame, same bits


def test_a_map_does_not_depend_on_its_batch(model):
    predictor = make_predictor(model, ModelOptions())
    frames = np.stack([picture(i, *predictor.input_size(72, 128)) for i in range(5)])
    together = [maps.depth for maps in predictor.predict(frames)]
    alone = [predictor.predict(frame[None])[0].depth for frame in frames]
    backwards = [maps.depth for maps in predictor.predict(frames[::-1])][::-1]
    for a, b, c in zip(together, alone, backwards, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert not np.array_equal(together[0], together[4])


def test_a_new_predictor_gives_the_same_bits(model):
    first, second = (make_predictor(model, ModelOptions()) for _ in range(2))
    frame = picture(3, *first.input_size(72, 128))[None]
    np.testing.assert_array_equal(first.predict(frame)[0].depth, second.predict(frame)[0].depth)


@pytest.mark.parametrize("smooth", [False, True])
def test_chunk_length_and_queue_change_nothing(model, clip, smooth):
    same_in_any_chunks(clip, model=model, smooth=smooth)


@pytest.mark.parametrize("smooth", [False, True])
def test_chunk_length_and_queue_change_nothing_with_key_frames(clip, smooth):
    same_in_any_chunks(clip, model="fake", smooth=smooth, sharpen="6")


def same_in_any_chunks(clip: Path, **settings) -> None:
    whole = depths(clip, chunk=64, **settings)
    for chunk, window in ((1, 1), (5, 3), (8, 2)):
        np.testing.assert_array_equal(whole, depths(clip, chunk=chunk, window=window, **settings))


def test_without_smoothing_a_frame_does_not_know_its_neighbours(model, tmp_path):
    folder = stills(tmp_path / "shots", [1, 2, 3, 4, 5])
    among = depths(folder, model=model, smooth=False)
    alone = depths(folder / "shot.0004.png", model=model, smooth=False)
    np.testing.assert_array_equal(among[3], alone[0])


# ------------------------------------------------------------------------------------------------ 4: causal and bounded


@pytest.mark.parametrize("first", [1, 9, 16])
def test_the_first_frames_do_not_know_what_comes_after(model, clip, tmp_path, first):
    """The fold sees the whole film in one run and only its beginning in the other."""
    begins_the_same(clip, first, model=model)


@pytest.mark.parametrize("first", [1, 9, 16])
def test_key_frames_do_not_know_what_comes_after(clip, first):
    begins_the_same(clip, first, model="fake", sharpen="6")


def begins_the_same(clip: Path, first: int, **settings) -> None:
    end = float(seconds_of(clip)[first]) - 1e-4
    beginning = depths(clip, end=end, **settings)
    assert len(beginning) == first
    np.testing.assert_array_equal(beginning, depths(clip, **settings)[:first])


def test_a_source_is_read_no_further_ahead_than_the_queues_hold(clip, monkeypatch):
    """Frames read beyond those given out stay under a bound that knows nothing of the film's length."""
    read = []

    class Long:
        def __init__(self, path: str, **_: object):
            with open_source(str(clip)) as source:
                self.info = source.info
            self.warnings, self.audio = [], AudioTap()

        def __iter__(self):
            for i in range(100_000):
                read.append(i)
                yield lotus2_video.Frame(i, i, Fraction(1, 24), picture(i % 20))

        def close(self) -> None: ...

        def __enter__(self):
            return self

        def __exit__(self, *exc: object) -> None: ...

    monkeypatch.setattr("lotus2_video.run.open_source", Long)
    results = lotus2_video.estimate("long.mp4", model="fake", chunk=2, window=1)
    ahead = []
    for given, _ in zip(range(400), results, strict=False):
        ahead.append(len(read) - given)
    results.close()
    assert max(ahead) < 40
    assert threading.active_count() < 10


# ------------------------------------------------------------------------------------------------ 6: time is the source's


def test_variable_rate_and_a_late_start_are_kept_frame_by_frame(model, tmp_path):
    ticks = [900, 925, 950, 1050, 1060, 1300, 1310, 1325, 1350, 1700]
    source = film(tmp_path / "vfr.mp4", pts=ticks)
    outcome = run_video(Job(str(source), None, RunConfig(model=model)))
    assert outcome.frames == len(ticks)
    assert seconds_of(outcome.paths[0]) == [Fraction(tick, 600) for tick in ticks]


def test_numbers_of_a_sequence_are_kept(model, tmp_path):
    folder = stills(tmp_path / "shots", [1001, 1002, 1003])
    outcome = run_video(Job(str(folder), str(tmp_path / "out"), RunConfig(model=model, format="png")))
    assert sorted(path.stem.split(".")[-1] for path in outcome.paths[0].iterdir()) == ["1001", "1002", "1003"]


def test_a_range_keeps_the_times_of_the_source(model, clip, tmp_path):
    config = RunConfig(model=model, start=0.2, end=0.6)
    outcome = run_video(Job(str(clip), str(tmp_path / "part.mp4"), config))
    assert seconds_of(outcome.paths[0]) == [t for t in seconds_of(clip) if Fraction(2, 10) <= t < Fraction(6, 10)]


def test_an_engine_given_from_outside_writes_the_same_bytes(model, clip, tmp_path):
    config = RunConfig(model=model, format="npz")
    with LocalEngine(window=3) as engine:
        run_video(Job(str(clip), str(tmp_path / "a.npz"), config), engine)
    run_video(Job(str(clip), str(tmp_path / "b.npz"), config))
    a, b = (np.load(tmp_path / name) for name in ("a.npz", "b.npz"))
    np.testing.assert_array_equal(a["depth"], b["depth"])
    np.testing.assert_array_equal(a["pts"], b["pts"])
