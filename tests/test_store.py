"""The store by itself: lossless files, a bound on the folder, and trouble that never stops a run."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from media import film, picture

import lotus2_video.store
from lotus2_video import Job, Maps, RunConfig, open_source, run_video
from lotus2_video.config import configure
from lotus2_video.errors import UsageError
from lotus2_video.frames import Chunk, Estimated
from lotus2_video.store import ChunkStore, WorkFolder, open_store, pack, run_key, unpack, work_root

GB = 10**9


def chunk_of(number: int, frames: int = 2) -> Chunk:
    return Chunk(number, np.stack([picture(number + i, 40, 64) for i in range(frames)]))


def estimated(number: int, frames: int = 2) -> Estimated:
    rng = np.random.default_rng(number)
    maps = tuple(Maps(rng.random((40, 64), np.float32), rng.random((40, 64, 3), np.float32)) for _ in range(frames))
    return Estimated(chunk_of(number, frames), maps, (None,) * frames)


def store_in(folder: Path, key: str = "run", limit: int = GB) -> ChunkStore:
    return ChunkStore(WorkFolder(folder, limit), key)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return film(tmp_path_factory.mktemp("store") / "clip.mp4", frames=12)


# ------------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("kinds", [("depth",), ("normal",), ("depth", "normal")])
def test_maps_come_back_bit_for_bit(kinds):
    """Also the values that a lossy or a careful packer would change: both zeros, NaN with a payload, infinities, denormals."""
    depth = np.random.default_rng(0).normal(size=(7, 11)).astype(np.float32)
    depth.flat[:6] = [0.0, -0.0, np.inf, -np.inf, 1e-42, np.float32(-1)]
    depth.view(np.uint32).flat[6] = 0x7FC12345
    normal = np.random.default_rng(1).normal(size=(7, 11, 3)).astype(np.float32)
    given = Maps(depth if "depth" in kinds else None, normal if "normal" in kinds else None)
    for back in unpack(pack((given, given))):
        for kind in ("depth", "normal"):
            before, after = getattr(given, kind), getattr(back, kind)
            assert (before is None) == (after is None)
            if before is not None:
                np.testing.assert_array_equal(before.view(np.uint32), after.view(np.uint32))


def test_smooth_maps_take_less_room_than_their_numbers():
    y, x = np.mgrid[:224, :384].astype(np.float32) / 384
    depth = (0.5 + 0.4 * np.sin(3 * x + y)).astype(np.float32)
    assert len(pack((Maps(depth),))) < 0.65 * depth.nbytes


def test_what_was_saved_is_loaded_by_the_next_run(tmp_path):
    store = store_in(tmp_path)
    part = estimated(3)
    assert store.load(part.chunk) is None
    store.save(part)
    store.close()
    again = store_in(tmp_path)
    assert again.found == 2
    loaded = again.load(chunk_of(3))
    assert loaded is not None
    np.testing.assert_array_equal(loaded[1].normal, part.maps[1].normal)
    assert again.load(chunk_of(4)) is None
    again.done()
    assert list(tmp_path.iterdir()) == []


def test_other_pixels_under_the_same_number_are_not_answered(tmp_path):
    store = store_in(tmp_path)
    store.save(estimated(3))
    assert store.load(Chunk(3, chunk_of(3).rgb ^ np.uint8(1))) is None
    assert store.load(chunk_of(3, frames=1)) is None


@pytest.mark.parametrize("at", [0, 40, 70, -1])
def test_a_flipped_bit_anywhere_is_found_out(tmp_path, at):
    store = store_in(tmp_path)
    store.save(estimated(0))
    (file,) = (tmp_path / "run").iterdir()
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    assert store.load(chunk_of(0)) is None
    assert "damaged" in store.warnings[0]


# ------------------------------------------------------------------------------------------------------------------ the key


def test_the_key_names_what_changes_the_networks_output(clip):
    def key(fingerprint: str = "f", path: Path = clip, **settings) -> str:
        with open_source(str(path)) as source:
            return run_key(RunConfig(**settings), source.info, fingerprint)

    same = [key(), key(smooth=False), key(format="exr"), key(window=5), key(overwrite=True), key(work_dir="/elsewhere")]
    same += [key(sharpen="all"), key(sharpen="12")]  # sharpened frames have files of their own
    assert len(set(same)) == 1
    other = [
        key("g"),
        key(res=100),
        key(chunk=3),
        key(start=0.1),
        key(end=0.3),
        key(maps=("normal",)),
    ]
    assert len({*other, key()}) == len(other) + 1


def test_the_work_folder_is_in_the_users_cache_unless_told(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/cache")
    assert work_root(RunConfig()) == Path("/somewhere/cache/lotus2-video/work")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert work_root(RunConfig()) == Path("/home/me/.cache/lotus2-video/work")
    assert work_root(RunConfig(work_dir="here")) == Path("here")


def test_a_limit_below_nothing_is_a_mistake():
    with pytest.raises(UsageError, match="--work-limit"):
        configure({"work-limit": -1})


# ---------------------------------------------------------------------------------------------------------------- the bound


def fill(folder: Path, key: str, age: int, size: int = 400_000) -> Path:
    run = folder / key
    run.mkdir(parents=True)
    (run / "00000000.8").write_bytes(bytes(size))
    os.utime(run, (1_000_000 - age, 1_000_000 - age))
    return run


def test_abandoned_runs_make_room_the_oldest_first(tmp_path):
    old, older, young = (fill(tmp_path, key, age) for key, age in (("old", 20), ("older", 30), ("young", 10)))
    store = store_in(tmp_path, limit=1_500_000)
    store.save(estimated(0))
    assert (older.exists(), old.exists(), young.exists()) == (True, True, True)  # there was room
    store_in(tmp_path, "second", limit=1_000_000).save(estimated(0))
    assert (older.exists(), old.exists(), young.exists()) == (False, True, True)
    assert store.warnings == []


def test_runs_in_use_are_left_alone_and_a_full_folder_only_ends_the_storing(tmp_path):
    fill(tmp_path, "busy", age=99)
    with_a_run = WorkFolder(tmp_path, GB).claim("busy")
    store = store_in(tmp_path, limit=500_000)
    for number in range(8):
        store.save(estimated(number))
    total = sum(file.stat().st_size for file in tmp_path.glob("*/*"))
    assert with_a_run.path.exists()
    assert total <= 500_000
    assert len(store.warnings) == 1
    assert "0.0005 GB" in store.warnings[0]
    assert store.load(chunk_of(0)) is not None  # what is there is still good


def test_a_folder_in_use_twice_is_removed_by_the_last(tmp_path):
    first, second = store_in(tmp_path), store_in(tmp_path)
    first.save(estimated(0))
    first.done()
    assert second.load(chunk_of(0)) is not None
    second.done()
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------------ trouble


def config(clip: Path, tmp_path: Path, **settings) -> tuple[Job, RunConfig]:
    made = RunConfig(model="fake", chunk=2, **settings)
    return Job(str(clip), str(tmp_path / "out.mkv"), made), made


def test_a_work_folder_that_cannot_be_made_is_a_note_not_an_error(clip, tmp_path):
    (tmp_path / "file").write_text("in the way")
    job, _ = config(clip, tmp_path, work_dir=str(tmp_path / "file"))
    outcome = run_video(job)
    assert outcome.frames == 12
    assert len(outcome.warnings) == 1
    assert "not kept" in outcome.warnings[0]


def test_no_room_at_all_is_a_note_and_the_same_film(clip, tmp_path):
    job, _ = config(clip, tmp_path, work_limit=0.0)
    outcome = run_video(job)
    assert len([line for line in outcome.warnings if "not kept" in line]) == 1
    plain = run_video(Job(str(clip), str(tmp_path / "plain.mkv"), RunConfig(model="fake", chunk=2, resume=False)))
    assert plain.warnings == ()
    assert outcome.paths[0].read_bytes() == plain.paths[0].read_bytes()


def test_a_disk_that_fills_up_under_the_work_folder(clip, tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        monkeypatch.setattr(lotus2_video.store, "SPARE", -GB)  # as if another process had taken what was free just now
        job, _ = config(clip, tmp_path, work_dir=str(small), maps=("normal",), res=72)
        outcome = run_video(job)
        assert outcome.frames == 12
        assert len(outcome.warnings) == 1
        assert "No space left" in outcome.warnings[0]
        assert not list(small.rglob("*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_only_what_can_be_read_twice_is_kept(clip, tmp_path):
    with open_source(str(clip)) as source:
        for settings in ({"resume": False}, {}):
            store = open_store(RunConfig(work_dir=str(tmp_path), **settings), source.info, "f")
            store.save(estimated(0))
            store.close()
    assert len(list(tmp_path.glob("*/*"))) == 1
