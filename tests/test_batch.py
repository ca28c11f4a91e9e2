"""Many videos: law 5 under kill -9, one bad file among good ones, lists, names, settings, and sources that are elsewhere."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import counting
import cv2
import pytest
from media import film, picture, stills

from lotus2_video import BatchConfig, BatchListener, InputError, Listener, OutputError, RunConfig, UsageError, run_batch
from lotus2_video.batch import find_videos
from lotus2_video.batch.find import Video
from lotus2_video.cli import main

FRAMES = 6
CONFIG = RunConfig(model="counting", format="ffv1", chunk=2)
ONE = BatchConfig(jobs=1, retries=0)


@pytest.fixture(autouse=True)
def log(tmp_path_factory, monkeypatch) -> Path:
    path = tmp_path_factory.mktemp("log") / "calls"
    monkeypatch.setenv("COUNT_LOG", str(path))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return film(tmp_path_factory.mktemp("batch") / "clip.mp4", frames=FRAMES)


@pytest.fixture
def videos(clip, tmp_path) -> Path:
    """Three good videos, two of one name, and one that is none."""
    folder = tmp_path / "videos"
    for name in ("a/x.mp4", "b/x.mp4", "b/deep/z.mkv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / name)
    (folder / "bad.mp4").write_text("not a film")
    return folder


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def last(out: Path) -> dict[str, dict]:
    """The latest line of each input, by its file name and folder."""
    return {"/".join(Path(line["input"]).parts[-2:]): line for line in lines(out)}


def files(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")}


def counts(outcome) -> tuple[int, int, int]:
    return outcome.done, outcome.skipped, outcome.failed


# ------------------------------------------------------------------------------------------------------- outcome by outcome


def test_each_video_has_its_outcome_and_a_bad_one_stops_nobody(videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["batch", str(videos), "-o", str(out), "--model", "fake"]) == 7
    assert files(out) == {"a/x_depth.mp4", "b/x_depth.mp4", "b/deep/z_depth.mp4", "manifest.jsonl"}
    by_name = last(out)
    good = by_name["a/x.mp4"]
    assert (good["status"], good["error"], good["frames"]) == ("done", None, FRAMES)
    assert Path(good["output"]) == out / "a" / "x_depth.mp4"
    assert good["seconds"] > 0
    bad = by_name["videos/bad.mp4"]
    assert (bad["status"], bad["frames"]) == ("failed", 0)
    assert "not a video" in bad["error"]
    told = capsys.readouterr()
    assert "3 done, 0 skipped, 1 failed of 4 videos" in told.out
    assert "bad.mp4" in told.err
    assert told.err.strip().splitlines()[-1].startswith("lotus2-video: ")


def test_a_second_run_does_only_what_is_missing(videos, tmp_path, log):
    (videos / "bad.mp4").unlink()
    out = tmp_path / "out"
    assert counts(run_batch([str(videos)], out, CONFIG)) == (3, 0, 0)
    (out / "b" / "x_depth.mkv").unlink()
    shutil.copy(videos / "a" / "x.mp4", videos / "new.mp4")
    log.unlink()
    assert counts(run_batch([str(videos)], out, CONFIG, how=ONE)) == (
        2,
        2,
        0,
    )  # at once they would share what they store
    assert counting.calls() == 2 * FRAMES // CONFIG.chunk
    assert [line["status"] for line in lines(out)] == 3 * ["done"] + [line["status"] for line in lines(out)][3:]
    assert last(out)["a/x.mp4"]["status"] == "skipped"
    assert last(out)["b/x.mp4"]["status"] == "done"
    assert main(["batch", str(videos), "-o", str(out), "--model", "fake", "--format", "ffv1", "--quiet"]) == 7


def test_what_was_made_with_other_settings_is_named_and_not_kept_silently(videos, tmp_path):
    out, a = tmp_path / "out", videos / "a"
    run_batch([str(a)], out, CONFIG)
    before = (out / "x_depth.mkv").read_bytes()
    other = RunConfig(model="counting", format="ffv1", res=48, smooth=False)
    outcome = run_batch([str(a)], out, other)
    assert counts(outcome) == (0, 0, 1)
    error = last(out)["a/x.mp4"]["error"]
    assert "other settings (res default, now 48; smooth default, now false)" in error
    assert "--overwrite" in error
    assert (out / "x_depth.mkv").read_bytes() == before
    again = RunConfig(**{**vars(other), "overwrite": True})
    assert counts(run_batch([str(a)], out, again)) == (1, 0, 0)
    assert (out / "x_depth.mkv").read_bytes() != before
    assert counts(run_batch([str(a)], out, again)) == (0, 1, 0)  # --overwrite is no reason to do it a second time
    assert counts(run_batch([str(a)], out, RunConfig(**{**vars(other), "window": 4, "chunk": 3}))) == (0, 1, 0)


def test_other_weights_are_other_settings(videos, tmp_path, monkeypatch):
    run_batch([str(videos / "a")], tmp_path / "out", CONFIG)
    monkeypatch.setenv("COUNT_FINGERPRINT", "counting-2")
    assert counts(run_batch([str(videos / "a")], tmp_path / "out", CONFIG)) == (0, 0, 1)
    assert "model counting counting-1, now counting counting-2" in last(tmp_path / "out")["a/x.mp4"]["error"]


def test_a_source_that_changed_is_named(videos, tmp_path):
    out = tmp_path / "out"
    run_batch([str(videos / "a")], out, CONFIG)
    film(videos / "a" / "x.mp4", frames=4)
    assert counts(run_batch([str(videos / "a")], out, CONFIG)) == (0, 0, 1)
    assert "another version of its source" in last(out)["a/x.mp4"]["error"]


def test_somebody_elses_file_stays(videos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "x_depth.mkv").write_bytes(b"precious")
    for _ in range(2):  # also after the first run took down what it was about to do
        assert counts(run_batch([str(videos / "a")], out, CONFIG)) == (0, 0, 1)
        assert (out / "x_depth.mkv").read_bytes() == b"precious"
    assert "exists already" in last(out)["a/x.mp4"]["error"]


def test_a_film_that_broke_off_is_failed_with_what_it_gave_and_tried_again(shared, tmp_path):
    source = shared / "videos" / "awkward" / "truncated_moov_first.mp4"
    for _ in range(2):
        assert counts(run_batch([str(source)], tmp_path / "out", CONFIG)) == (0, 0, 1)
        line = lines(tmp_path / "out")[-1]
        assert (line["status"], line["attempts"]) == ("failed", 1)
        assert "--tolerant" in line["error"]
        assert Path(line["output"]).exists()
    assert counts(run_batch([str(source)], tmp_path / "out", RunConfig(**{**vars(CONFIG), "tolerant": True}))) == (
        1,
        0,
        0,
    )


# ---------------------------------------------------------------------------------------------------- kills and interruptions


def many(clip: Path, folder: Path, count: int = 8) -> Path:
    """Films that are not alike, and one that is broken."""
    folder.mkdir()
    for i in range(count):
        film(folder / f"clip{i}.mp4", frames=FRAMES, size=(72, 96 + 4 * i))
    (folder / "broken.mp4").write_bytes(clip.read_bytes()[:600])
    return folder


@pytest.mark.parametrize("after", [0, 7, 16])
def test_killed_and_run_again_every_video_is_done_once(clip, tmp_path, after):
    folder, out = many(clip, tmp_path / "in"), tmp_path / "out"
    (tmp_path / "settings.toml").write_text("chunk = 2\nformat = 'ffv1'\nmodel = 'counting'\n")
    words = ["batch", str(folder), "-o", str(out), "--config", str(tmp_path / "settings.toml"), "--jobs", "3"]
    assert counting.killed_when(lambda: counting.calls() >= after, words) == -9
    before = counting.calls()
    assert main([*words, "--quiet"]) == 7
    done = [line["input"] for line in lines(out) if line["status"] == "done"]
    assert sorted(done) == sorted(str(path) for path in folder.glob("clip*"))
    assert [line for line in lines(out) if line["status"] == "failed"][-1]["input"].endswith("broken.mp4")
    assert files(out) == {"manifest.jsonl", *(f"clip{i}_depth.mkv" for i in range(8))}
    assert counting.calls() - before <= 8 * FRAMES // 2
    run_batch([str(folder)], tmp_path / "undisturbed", CONFIG)
    for path in out.glob("*.mkv"):
        assert path.read_bytes() == (tmp_path / "undisturbed" / path.name).read_bytes()
    assert not [path for path in out.iterdir() if ".partial-" in path.name]


def test_killed_between_the_name_and_the_line_it_is_done_again_without_overwrite(videos, tmp_path):
    """The output stands, the manifest does not know of it: our own, since the batch had said that it would make it."""
    out = tmp_path / "out"
    run_batch([str(videos / "a")], out, CONFIG)
    whole = (out / "x_depth.mkv").read_bytes()
    (out / "manifest.jsonl").unlink()
    assert counts(run_batch([str(videos / "a")], out, CONFIG)) == (1, 0, 0)
    assert (out / "x_depth.mkv").read_bytes() == whole


def test_a_torn_line_costs_only_itself(videos, tmp_path):
    out = tmp_path / "out"
    (videos / "bad.mp4").unlink()
    run_batch([str(videos)], out, CONFIG, how=ONE)
    text = (out / "manifest.jsonl").read_text()
    (out / "manifest.jsonl").write_text(text[:-25])
    assert counts(run_batch([str(videos)], out, CONFIG)) == (1, 2, 0)
    whole = [line for line in (out / "manifest.jsonl").read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["status"] for line in whole].count("done") == 3


def test_interrupted_it_stops_soon_and_leaves_nothing_half_made(clip, tmp_path):
    folder, out = many(clip, tmp_path / "in"), tmp_path / "out"
    words = [sys.executable, counting.__file__, "batch", str(folder), "-o", str(out), "--model", "counting"]
    environment = {**os.environ, "COUNT_SECONDS": "0.05"}
    with subprocess.Popen(
        words,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        while counting.calls() < 4 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        err = process.communicate()[1]
    assert process.returncode == 130, err
    done = [line for line in lines(out) if line["status"] == "done"] if (out / "manifest.jsonl").exists() else []
    assert len(done) < 8
    assert not [path for path in out.iterdir() if ".partial-" in path.name]
    assert main([*words[2:], "--quiet"]) == 7
    assert len([line for line in lines(out) if line["status"] == "done"]) == 8


def test_a_second_batch_in_the_same_folder_is_refused(videos, tmp_path):
    out = tmp_path / "out"
    refused = []

    def started(name: str) -> Listener:
        with pytest.raises(OutputError, match="another batch"):
            run_batch([str(videos / "a")], out, CONFIG)
        refused.append(name)
        return Listener()

    run_batch([str(videos / "a")], out, CONFIG, listener=BatchListener(started=started))
    assert len(refused) == 1


# ------------------------------------------------------------------------------------------------------------ how it works


def test_one_predictor_serves_all_one_call_at_a_time(clip, tmp_path, monkeypatch):
    made, inside, most = [], [0], [0]
    init, predict = counting.Counting.__init__, counting.Counting.predict

    def counted_init(self, options):
        made.append(self)
        init(self, options)

    def watched(self, rgb, *, sharpen=False):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.002)
        inside[0] -= 1
        return predict(self, rgb, sharpen=sharpen)

    monkeypatch.setattr(counting.Counting, "__init__", counted_init)
    monkeypatch.setattr(counting.Counting, "predict", watched)
    before = threading.active_count()
    outcome = run_batch([str(many(clip, tmp_path / "in", 5))], tmp_path / "out", CONFIG, how=BatchConfig(jobs=4))
    assert counts(outcome) == (5, 0, 1)
    assert len(made) == 1
    assert most == [1]
    assert threading.active_count() == before


def test_what_fails_once_is_tried_again(videos, tmp_path, monkeypatch):
    predict = counting.Counting.predict

    def flaky(self, rgb, *, sharpen=False):
        if counting.calls() == 0:
            counting.append_whole(Path(os.environ["COUNT_LOG"]), "failed\n")
            raise RuntimeError("the card hiccupped")
        return predict(self, rgb, sharpen=sharpen)

    monkeypatch.setattr(counting.Counting, "predict", flaky)
    assert counts(run_batch([str(videos / "a")], tmp_path / "out", CONFIG, how=BatchConfig(retries=1))) == (1, 0, 0)
    assert lines(tmp_path / "out")[0]["attempts"] == 2
    Path(os.environ["COUNT_LOG"]).unlink()
    assert counts(run_batch([str(videos / "a")], tmp_path / "other", CONFIG, how=ONE)) == (0, 0, 1)
    assert "RuntimeError: the card hiccupped" in lines(tmp_path / "other")[0]["error"]


def test_fail_fast_starts_no_other(videos, tmp_path):
    (videos / "aa.txt").write_text("bad.mp4\na/x.mp4\nb/x.mp4\n")
    how = BatchConfig(jobs=1, retries=0, fail_fast=True)
    outcome = run_batch([str(videos / "aa.txt")], tmp_path / "out", CONFIG, how=how)
    assert counts(outcome) == (0, 0, 1)
    assert "2 left of 3 videos" in str(outcome)


def test_shards_share_the_videos_and_a_limit_takes_the_first(clip, tmp_path):
    folder, out = many(clip, tmp_path / "in", 5), tmp_path / "out"
    (folder / "broken.mp4").unlink()
    for shard, much in (("1/2", 3), ("2/2", 2)):
        assert run_batch([str(folder)], out, CONFIG, how=BatchConfig(shard=shard)).done == much
    assert len(list(out.glob("*.mkv"))) == 5
    assert counts(run_batch([str(folder)], out, CONFIG, how=BatchConfig(limit=2))) == (0, 2, 0)


@pytest.mark.parametrize("words", [["--jobs", "0"], ["--shard", "3/2"], ["--shard", "half"], ["--retries", "-1"]])
def test_a_mistake_in_an_option(videos, tmp_path, words, capsys):
    assert main(["batch", str(videos), "-o", str(tmp_path / "out"), "--model", "fake", *words]) == 2
    assert words[0] in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------- inputs and names


def found(words: list, out: Path, column: str | None = None) -> list[tuple[str, str]]:
    return [(Path(video.input).name, video.folder) for video in find_videos([str(word) for word in words], out, column)]


def test_folders_globs_and_files_keep_their_folders(videos, tmp_path):
    out = tmp_path / "out"
    (videos / ".hidden.mp4").write_text("")
    (videos / "notes.doc").write_text("")
    assert found([videos], out) == [("bad.mp4", ""), ("x.mp4", "a"), ("x.mp4", "b"), ("z.mkv", "b/deep")]
    assert found([videos / "*" / "*.mp4"], out) == [("x.mp4", "a"), ("x.mp4", "b")]
    assert found([videos / "a" / "x.mp4", videos / "b" / "x.mp4"], out) == [("x.mp4", "a"), ("x.mp4", "b")]
    assert found([videos / "a" / "x.mp4"], out) == [("x.mp4", "")]
    assert found([videos / "a", videos / "b"], out) == [("x.mp4", "a"), ("x.mp4", "b"), ("z.mkv", "deep")]
    assert found([videos / "a", videos / "a" / "x.mp4"], out) == [("x.mp4", "")]


def test_names_that_meet_get_folders_of_their_own(videos, tmp_path):
    shutil.copy(videos / "a" / "x.mp4", videos / "a" / "x.mov")
    shutil.copy(videos / "a" / "x.mp4", videos / "a" / "X.avi")
    assert found([videos / "a"], tmp_path) == [("X.avi", "X.avi"), ("x.mov", "x.mov"), ("x.mp4", "x.mp4")]
    run_batch([str(videos / "a")], tmp_path / "out", CONFIG)
    assert files(tmp_path / "out") >= {"x.mov/x_depth.mkv", "x.mp4/x_depth.mkv", "X.avi/X_depth.mkv"}


def test_roots_of_one_name_still_give_every_video_a_place(clip, tmp_path):
    for name in ("p/clips/x.mp4", "q/clips/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(clip, tmp_path / name)
    placed = find_videos([str(tmp_path / "p" / "clips"), str(tmp_path / "q" / "clips")], tmp_path / "out")
    assert len({video.folder for video in placed}) == 2
    assert placed == find_videos([str(tmp_path / "p" / "clips"), str(tmp_path / "q" / "clips")], tmp_path / "out")


def test_a_batch_into_the_folder_of_its_inputs_does_not_take_its_own_outputs(videos):
    (videos / "bad.mp4").unlink()
    for expected in ((3, 0, 0), (0, 3, 0)):
        assert counts(run_batch([str(videos)], videos, CONFIG)) == expected
    assert len(found([videos], videos / "maps")) == 6  # for another batch they are videos like others


def write_list(path: Path, entries: list[str]) -> Path:
    if path.suffix == ".csv":
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([["label", "video"], *([str(i), entry] for i, entry in enumerate(entries))])
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({"video": entry, "label": 1}) for entry in entries))
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"video": entries, "label": [1, 2]}), path)
    else:
        path.write_text("# two of them\n" + "\n\n".join(entries) + "\n")
    return path


@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl", "parquet"])
def test_lists_of_every_kind(videos, tmp_path, suffix):
    """Relative entries are looked for beside the list; missing ones are the business of their own run."""
    named = write_list(videos / f"list.{suffix}", ["a/x.mp4", str(videos / "b" / "x.mp4")])
    assert found([named], tmp_path) == [("x.mp4", "a"), ("x.mp4", "b")]
    if suffix != "txt":
        with pytest.raises(UsageError, match="there are "):
            found([named], tmp_path, column="nothing")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("list.csv", b"label,size\n1,2\n", UsageError),
        ("list.jsonl", b'{"video": "a"}\n{"video\n', UsageError),
        ("list.jsonl", b"[1, 2]\n", UsageError),
        ("list.txt", b"\xff\xfe\x00", UsageError),
        ("list.parquet", b"not at all", UsageError),
        ("list.txt", b"# nothing\n", UsageError),
        ("missing.txt", None, InputError),
    ],
)
def test_lists_that_are_none(tmp_path, name, content, error):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=name):
        find_videos([str(tmp_path / name)], tmp_path / "out")


def test_an_empty_folder_is_a_mistake(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no videos here"):
        find_videos([str(tmp_path / "empty")], tmp_path / "out")


def test_a_list_may_name_what_run_takes(tmp_path):
    stills(tmp_path / "shots", [1, 2, 3])
    cv2.imwrite(str(tmp_path / "one.png"), picture(1)[:, :, ::-1])
    (tmp_path / "list.txt").write_text("shots\none.png\nmissing.mp4\n")
    outcome = run_batch([str(tmp_path / "list.txt")], tmp_path / "out", RunConfig(model="fake"))
    assert counts(outcome) == (2, 0, 1)
    assert files(tmp_path / "out") == {"shots_depth.mp4", "one_depth.png", "manifest.jsonl"}
    assert "no such file" in last(tmp_path / "out")[f"{tmp_path.name}/missing.mp4"]["error"]


# ----------------------------------------------------------------------------------------------------- sources elsewhere


@pytest.fixture
def bucket(clip, monkeypatch):
    """A bucket on an S3-compatible server of our own, with two clips and something else."""
    server_module = pytest.importorskip("moto.server", reason="needs moto[server]")
    pytest.importorskip("s3fs", reason="needs s3fs")
    import fsspec

    server = server_module.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    files.makedirs("films", exist_ok=True)
    for name in ("a/x.mp4", "b/x.mp4"):
        files.pipe_file(f"films/{name}", clip.read_bytes())
    files.pipe_file("films/readme.md", b"no film")
    yield files
    fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


def test_videos_in_a_bucket(bucket, tmp_path, cache, log):
    out = tmp_path / "out"
    assert counts(run_batch(["s3://films/"], out, CONFIG)) == (2, 0, 0)
    assert files(out) == {"a/x_depth.mkv", "b/x_depth.mkv", "manifest.jsonl"}
    assert {line["input"] for line in lines(out)} == {"s3://films/a/x.mp4", "s3://films/b/x.mp4"}
    assert not list((cache / "lotus2-video" / "work").iterdir())  # what was fetched is gone
    (tmp_path / "list.txt").write_text("s3://films/a/x.mp4\ns3://films/b/x.mp4\ns3://films/gone.mp4\n")
    log.unlink()
    assert counts(run_batch([str(tmp_path / "list.txt")], out, CONFIG)) == (0, 2, 1)
    assert counts(run_batch(["s3://films/*/x.mp4"], out, CONFIG)) == (0, 2, 0)
    assert counting.calls() == 0
    assert any("no such file" in (line["error"] or "") for line in lines(out))
    bucket.pipe_file("films/a/x.mp4", bucket.cat_file("films/a/x.mp4") + b"\0")
    assert counts(run_batch(["s3://films/a/x.mp4"], out, CONFIG)) == (0, 0, 1)
    assert "another version" in lines(out)[-1]["error"]


def test_killed_with_a_fetched_video_it_goes_on_from_there(bucket, tmp_path, cache, log):
    out = tmp_path / "out"
    (tmp_path / "settings.toml").write_text("chunk = 2\nformat = 'ffv1'\nmodel = 'counting'\n")
    words = ["batch", "s3://films/a/x.mp4", "-o", str(out), "--config", str(tmp_path / "settings.toml")]
    stored = lambda: list((cache / "lotus2-video" / "work").glob("*/[0-9]*.[0-9]"))  # noqa: E731
    assert counting.killed_when(lambda: len(stored()) >= 1, words, seconds=0.2) == -9
    left = len(stored())
    log.unlink()
    assert main([*words, "--quiet"]) == 0
    assert counting.calls() == FRAMES // 2 - left


def test_an_unknown_address_is_an_error_of_that_video(tmp_path):
    pytest.importorskip("fsspec")
    outcome = run_batch(["nowhere://host/x.mp4"], tmp_path / "out", CONFIG, how=ONE)
    assert counts(outcome) == (0, 0, 1)
    assert "nowhere" in lines(tmp_path / "out")[0]["error"]


def test_without_fsspec_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    run_batch(["s3://films/x.mp4"], tmp_path / "out", CONFIG, how=ONE)
    assert "pip install" in lines(tmp_path / "out")[0]["error"]


def test_the_output_is_a_folder_of_this_machine(videos):
    with pytest.raises(UsageError, match="s3://out"):
        run_batch([str(videos)], "s3://out", CONFIG)


def test_the_recipe_for_data_sets(videos, tmp_path):
    recipe = Path(__file__).parents[1] / "pipelines" / "batch_dataset.py"
    words = [sys.executable, str(recipe), str(videos), "-o", str(tmp_path / "out"), "--model", "fake"]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 7, run.stderr
    assert files(tmp_path / "out") == {"a/x_depth.npz", "b/x_depth.npz", "b/deep/z_depth.npz", "manifest.jsonl"}


def test_the_live_table_shows_rows_and_failures(videos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["batch", str(videos), "-o", str(tmp_path / "out"), "--model", "fake"]) == 7
    assert "failed: " in capsys.readouterr().err


def test_videos_compare_by_what_they_are():
    assert Video("/a.mp4", "") == Video("/a.mp4", "")
