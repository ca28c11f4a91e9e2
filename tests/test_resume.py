"""Law 3: death changes nothing. A run that is killed at any moment and started again writes the bytes of an undisturbed run,
and only lost work is done again. Law 5: nothing half-written ever stands under a final name.
"""

import os
import subprocess
import sys
from pathlib import Path

import counting
import cv2
import numpy as np
import pytest
from counting import calls, killed_when
from media import film, picture, stills

from lotus2_video import Job, Listener, RunConfig, run_video
from lotus2_video.cli import main

FRAMES, CHUNK = 40, 4
CHUNKS = FRAMES // CHUNK
CONFIG = RunConfig(model="counting", chunk=CHUNK, format="ffv1")


@pytest.fixture(autouse=True)
def log(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "calls.log"
    monkeypatch.setenv("COUNT_LOG", str(path))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return film(tmp_path_factory.mktemp("resume") / "clip.mp4", frames=FRAMES)


@pytest.fixture(scope="module")
def undisturbed(clip, tmp_path_factory) -> bytes:
    """What the command below writes when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    os.environ["COUNT_LOG"] = str(folder / "log")
    return run_video(Job(str(clip), str(folder / "out.mkv"), CONFIG)).paths[0].read_bytes()


@pytest.fixture
def words(clip, tmp_path) -> list[str]:
    (tmp_path / "settings.toml").write_text(f"chunk = {CHUNK}\n")
    settings = ["--model", "counting", "--config", str(tmp_path / "settings.toml")]
    return [str(clip), "-o", str(tmp_path / "out.mkv"), *settings]


def stored(cache: Path) -> list[Path]:
    return sorted((cache / "lotus2-video" / "work").glob("*/[0-9]*"))


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"calls.log", "settings.toml"}


def rerun(clip: Path, tmp_path: Path, log: Path, **settings) -> tuple[bytes, int]:
    """The bytes of the second run, and how often it asked the network."""
    log.unlink(missing_ok=True)
    config = RunConfig(**{**vars(CONFIG), **settings})
    outcome = run_video(Job(str(clip), str(tmp_path / "out.mkv"), config))
    return outcome.paths[0].read_bytes(), calls()


# ------------------------------------------------------------------------------------------------------------------- kills


@pytest.mark.parametrize("after", [0, 1, 5, CHUNKS])
def test_killed_and_run_again(clip, words, undisturbed, tmp_path, cache, log, after):
    """Killed before the network started, early, in the middle, and while the last frames were on their way."""
    assert killed_when(lambda: calls() >= after, words) == -9
    assert "out.mkv" not in entries(tmp_path)
    left = len(stored(cache))
    data, again = rerun(clip, tmp_path, log)
    assert data == undisturbed
    assert again == CHUNKS - left
    assert entries(tmp_path) == {"out.mkv"}
    assert stored(cache) == []


def test_killed_again_and_again_it_gets_on(clip, words, undisturbed, tmp_path, cache, log):
    before = 0
    for _ in range(3):
        enough = before + 2
        assert killed_when(lambda enough=enough: len(stored(cache)) >= enough, words) == -9
        before = len(stored(cache))
        assert before >= enough
    data, again = rerun(clip, tmp_path, log)
    assert data == undisturbed
    assert again == CHUNKS - before


def test_killed_while_it_gives_the_final_name(clip, words, undisturbed, tmp_path, cache, log):
    """Either the name is not there, or the file behind it is whole; a run that did not come to its end is done again."""
    out = tmp_path / "out.mkv"
    code = killed_when(out.exists, words, seconds=0)
    assert out.read_bytes() == undisturbed
    assert code in (0, -9)
    assert main([*words, "--overwrite", "--quiet"]) == 0
    assert out.read_bytes() == undisturbed
    assert entries(tmp_path) == {"out.mkv"}
    assert stored(cache) == []


def test_it_says_what_it_found_and_a_second_time_does_not(clip, words, tmp_path, cache, capsys):
    assert killed_when(lambda: len(stored(cache)) >= 3, words) == -9
    found = len(stored(cache)) * CHUNK
    assert main(words) == 0
    assert f"left {found} frames" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert "earlier run" not in capsys.readouterr().err


def test_an_error_of_the_network_loses_nothing_before_it(clip, undisturbed, tmp_path, cache, log, monkeypatch):
    def fails(self, rgb, *, sharpen=False):
        if calls() == 6:
            raise RuntimeError("the card fell off")
        return predict(self, rgb, sharpen=sharpen)

    predict = counting.Counting.predict
    monkeypatch.setattr(counting.Counting, "predict", fails)
    with pytest.raises(RuntimeError, match="fell off"):
        run_video(Job(str(clip), str(tmp_path / "out.mkv"), CONFIG))
    left = len(stored(cache))
    monkeypatch.setattr(counting.Counting, "predict", predict)
    data, again = rerun(clip, tmp_path, log)
    assert data == undisturbed
    assert left > 0
    assert again == CHUNKS - left


# ------------------------------------------------------------------------------------------- what is used again, what is not


@pytest.fixture
def half_done(clip, tmp_path, cache) -> list[Path]:
    """The chunks that a run stored before it was stopped half-way."""

    def stop(frames: int) -> None:
        if frames == FRAMES // 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run_video(Job(str(clip), str(tmp_path / "out.mkv"), CONFIG), listener=Listener(advanced=stop))
    return stored(cache)


def test_torn_and_flipped_files_are_computed_again(clip, undisturbed, half_done, tmp_path, log):
    torn, flipped, empty = half_done[:3]
    torn.write_bytes(torn.read_bytes()[:-7])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 4
    flipped.write_bytes(data)
    empty.write_bytes(b"")
    log.unlink()
    outcome = run_video(Job(str(clip), str(tmp_path / "out.mkv"), CONFIG))
    assert outcome.paths[0].read_bytes() == undisturbed
    assert calls() == CHUNKS - len(half_done) + 3
    assert any("damaged" in line for line in outcome.warnings)


@pytest.mark.parametrize("change", [{"smooth": False}, {"upsample": "bilinear"}, {"window": 1}, {"side_by_side": True}])
def test_what_comes_after_the_network_may_change(clip, half_done, tmp_path, log, change):
    if "side_by_side" in change:
        change["format"] = "mp4"
    job = Job(str(clip), str(tmp_path / "new/"), RunConfig(**{**vars(CONFIG), **change}))
    log.unlink()
    first = run_video(job).paths[0]
    assert calls() == CHUNKS - len(half_done)
    again = run_video(Job(str(clip), str(tmp_path / "again/"), RunConfig(**{**vars(job.config), "resume": False})))
    assert first.read_bytes() == again.paths[0].read_bytes()


@pytest.mark.parametrize("change", [{"res": 48}, {"sharpen": "all"}, {"chunk": 5}, {"end": 1.5}, {"maps": ("normal",)}])
def test_what_changes_the_networks_output_is_not_used_again(clip, half_done, tmp_path, log, change):
    data, again = rerun(clip, tmp_path, log, **change)
    fresh = Job(str(clip), str(tmp_path / "fresh.mkv"), RunConfig(**{**vars(CONFIG), **change, "resume": False}))
    assert data == run_video(fresh).paths[0].read_bytes()
    assert again == calls() - again


def test_other_weights_are_another_run(clip, undisturbed, half_done, tmp_path, log, monkeypatch):
    monkeypatch.setenv("COUNT_FINGERPRINT", "counting-2")
    assert rerun(clip, tmp_path, log)[1] == CHUNKS


def test_a_file_moved_or_touched_is_the_same_source(clip, undisturbed, half_done, tmp_path, log):
    moved = tmp_path / "moved.mp4"
    moved.write_bytes(clip.read_bytes())
    assert rerun(moved, tmp_path, log)[1] == CHUNKS - len(half_done)


def test_only_the_chunk_of_an_edited_picture_is_computed_again(tmp_path, log):
    shots = stills(tmp_path / "shots", list(range(1, 13)))
    config = RunConfig(model="counting", chunk=4, format="npz", keep_work=True)
    run_video(Job(str(shots), str(tmp_path / "before.npz"), config))
    cv2.imwrite(str(shots / "shot.0006.png"), picture(30)[:, :, ::-1])
    log.unlink()
    after = run_video(Job(str(shots), str(tmp_path / "after.npz"), config))
    assert calls() == 1
    fresh = run_video(Job(str(shots), str(tmp_path / "fresh.npz"), RunConfig(**{**vars(config), "resume": False})))
    assert after.paths[0].read_bytes() == fresh.paths[0].read_bytes()


def test_kept_work_serves_other_smoothing_without_the_network(clip, tmp_path, cache, log):
    keep = {"keep_work": True}
    rerun(clip, tmp_path, log, **keep)
    assert len(stored(cache)) == CHUNKS
    data, again = rerun(clip, tmp_path, log, smooth=False, overwrite=True)
    assert again == 0
    assert stored(cache) == []
    assert data == rerun(clip, tmp_path, log, smooth=False, overwrite=True, resume=False)[0]


def test_without_resume_nothing_is_used_and_nothing_kept(clip, words, half_done, undisturbed, tmp_path, cache, log):
    assert rerun(clip, tmp_path, log, resume=False) == (undisturbed, CHUNKS)
    assert stored(cache) == half_done  # for whoever changes his mind


def test_a_stream_is_not_kept(clip, tmp_path, cache):
    with open(clip, "rb") as stream:
        words = ["-", "-o", str(tmp_path / "out.mkv"), "--model", "counting", "--keep-work", "--quiet"]
        subprocess.run([sys.executable, counting.__file__, *words], stdin=stream, check=True)
    assert stored(cache) == []


# ------------------------------------------------------------------------------------------------------- several at a time


def test_two_runs_of_one_source_at_once(clip, undisturbed, tmp_path, cache):
    """They share what they store; neither clears away what the other still needs."""
    words = [str(clip), "--config", str(tmp_path / "settings.toml"), "--model", "counting", "--quiet"]
    (tmp_path / "settings.toml").write_text(f"chunk = {CHUNK}\n")
    environment = {**os.environ, "COUNT_SECONDS": "0.02"}
    outs = [tmp_path / name for name in ("a.mkv", "b.mkv")]
    commands = [[sys.executable, counting.__file__, *words, "-o", str(out)] for out in outs]
    runs = [subprocess.Popen(command, env=environment) for command in commands]
    assert [run.wait() for run in runs] == [0, 0]
    assert [out.read_bytes() == undisturbed for out in outs] == [True, True]
    assert stored(cache) == []


def test_two_runs_into_one_file_at_once(clip, words, undisturbed, tmp_path):
    """Without --overwrite one of them is refused; the file is whole either way."""
    runs = [subprocess.Popen([sys.executable, counting.__file__, *words, "--quiet"]) for _ in range(2)]
    assert sorted(run.wait() for run in runs) in ([0, 5], [0, 0])
    assert (tmp_path / "out.mkv").read_bytes() == undisturbed
    assert entries(tmp_path) == {"out.mkv"}


def test_what_a_killed_run_left_goes_and_what_a_living_one_writes_stays(clip, tmp_path):
    config = RunConfig(model="counting", format="exr")
    dead = tmp_path / ".out.partial-0123abcd"
    dead.mkdir()
    (dead / "out.0001.exr").write_bytes(b"torn")
    stranger = tmp_path / ".out.partial-of-mine"
    stranger.write_text("not ours")

    def opened_twice(frames: int) -> None:
        if frames == 1:
            seen.extend(entries(tmp_path))
            with pytest.raises(InterruptedError):
                run_video(Job(str(clip), str(tmp_path / "out.exr"), config), listener=Listener(advanced=interrupt))

    def interrupt(frames: int) -> None:
        seen_by_both.extend(entries(tmp_path))
        raise InterruptedError

    seen, seen_by_both = [], []
    run_video(Job(str(clip), str(tmp_path / "out.exr"), config), listener=Listener(advanced=opened_twice))
    assert dead.name not in seen
    assert len([name for name in seen_by_both if name.startswith(".out.partial-")]) == 3
    assert entries(tmp_path) == {"out", stranger.name}
    assert len(list((tmp_path / "out").iterdir())) == FRAMES


def test_undisturbed_runs_agree_with_numpy(clip, tmp_path, log):
    """The maps that went through the store are those that did not, as numbers too."""
    both = {"format": "npz", "maps": ("depth", "normal")}
    paths = []
    for name, resume in (("a.npz", False), ("b.npz", True), ("c.npz", True)):
        config = RunConfig(**{**vars(CONFIG), **both, "resume": resume, "keep_work": True})
        paths.append(run_video(Job(str(clip), str(tmp_path / name), config)).paths[0])
    assert calls() == 2 * CHUNKS
    arrays = [np.load(path) for path in paths]
    for kind in both["maps"]:
        np.testing.assert_array_equal(arrays[0][kind], arrays[1][kind])
        np.testing.assert_array_equal(arrays[0][kind], arrays[2][kind])


# -------------------------------------------------------------------------------------------------------------- key frames


def test_sharpened_key_frames_are_kept_and_chosen_again(clip, tmp_path, log):
    """Stopped half-way: the rerun asks the network for no chunk and no key frame that is there already."""
    config = RunConfig(**{**vars(CONFIG), "sharpen": "10", "cuts": "none"})

    def stop(frames: int) -> None:
        if frames == FRAMES // 2:
            raise InterruptedError

    whole = run_video(Job(str(clip), str(tmp_path / "whole.mkv"), RunConfig(**{**vars(config), "resume": False})))
    in_all = calls()
    log.unlink()
    with pytest.raises(InterruptedError):
        run_video(Job(str(clip), str(tmp_path / "out.mkv"), config), listener=Listener(advanced=stop))
    before = calls()
    again = run_video(Job(str(clip), str(tmp_path / "out.mkv"), config))
    assert again.paths[0].read_bytes() == whole.paths[0].read_bytes()
    assert in_all >= CHUNKS + 4
    assert calls() - in_all <= 3, "only what was in flight when it was stopped is asked for twice"
    assert before > CHUNKS // 2
