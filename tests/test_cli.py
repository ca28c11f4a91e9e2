"""The command as a user types it: what it prints, its exit codes, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import film, picture

from lotus2_video.cli import main

COMMAND = [sys.executable, "-m", "lotus2_video.cli"]


@pytest.fixture
def clip(tmp_path) -> Path:
    return film(tmp_path / "in.mp4", frames=12)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_bare_form_writes_beside_the_source(clip, capsys):
    assert main([str(clip), "--model", "fake"]) == 0
    assert names(clip.parent) == ["in.mp4", "in_depth.mp4"]
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert "in_depth.mp4" in last
    assert "12 frames" in last
    assert "frames/s" in last


def test_the_bare_form_takes_options_in_front(clip):
    assert main(["--model", "fake", str(clip), "--quiet"]) == 0
    assert (clip.parent / "in_depth.mp4").exists()


def test_quiet_prints_nothing(clip, capsys):
    assert main([str(clip), "--model", "fake", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_still_gives_a_16_bit_png(tmp_path):
    cv2.imwrite(str(tmp_path / "in.png"), picture(2)[:, :, ::-1])
    assert main([str(tmp_path / "in.png"), "--model", "fake"]) == 0
    depth = cv2.imread(str(tmp_path / "in_depth.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    assert depth.shape == (72, 128)


def test_two_maps_give_two_films(clip):
    assert main(["run", str(clip), "--model", "fake", "--maps", "depth,normal"]) == 0
    assert names(clip.parent) == ["in.mp4", "in_depth.mp4", "in_normal.mp4"]


def test_it_does_not_overwrite_unless_told(clip, capsys):
    (clip.parent / "in_depth.mp4").write_bytes(b"precious")
    assert main([str(clip), "--model", "fake"]) == 5
    assert "--overwrite" in capsys.readouterr().err
    assert (clip.parent / "in_depth.mp4").read_bytes() == b"precious"
    assert main([str(clip), "--model", "fake", "--overwrite"]) == 0
    assert (clip.parent / "in_depth.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["missing.mp4"], 3, "no such file"),
        (["{clip}", "--modle", "mini"], 2, "did you mean --model?"),
        (["{clip}", "--model", "mini2"], 2, "did you mean mini?"),
        (["{clip}", "--colormap", "turbot"], 2, "did you mean turbo?"),
        (["{clip}", "--maps", "dept"], 2, "did you mean depth?"),
        (["{clip}", "--res", "many"], 2, "--res"),
        (["{clip}", "--weights", "nowhere"], 4, "nowhere"),
        (["{clip}", "--model", "hf:x", "--maps", "normal"], 2, "--maps"),
        (["{clip}", "--config", "no.toml"], 2, "no.toml"),
        (["{clip}", "--device", "tpu"], 2, "--device"),
        (["{clip}", "--model", "fake", "-o", "/proc/nope/out.mp4"], 5, "/proc/nope"),
        (["{clip}", "--start", "99"], 3, "--start"),
        (["models", "fetch"], 2, "which model"),
        (["models", "fetch", "mini"], 2, "in the package"),
    ],
)
def test_a_mistake_is_one_line_with_its_exit_code(clip, capsys, words, code, said):
    assert main([word.format(clip=clip) for word in words]) == code
    err = capsys.readouterr().err.strip().splitlines()
    assert said in err[-1], err
    assert err[-1].startswith("lotus2-video: ")
    assert not any("Traceback" in line for line in err)
    assert names(clip.parent) == ["in.mp4"]


def test_a_stream_without_a_place_for_its_output(clip):
    with open(clip, "rb") as stream:
        run = subprocess.run(
            [*COMMAND, "-", "--model", "fake"], stdin=stream, capture_output=True, text=True, check=False
        )
    assert run.returncode == 2
    assert "-o" in run.stderr


def test_a_config_file_sets_and_options_win(clip, tmp_path):
    (tmp_path / "my.toml").write_text('model = "fake"\nformat = "npz"\nmaps = ["depth", "normal"]\n')
    assert main([str(clip), "--config", str(tmp_path / "my.toml"), "--maps", "depth"]) == 0
    assert "in_depth.npz" in names(clip.parent)
    (tmp_path / "bad.toml").write_text("smoth = true\n")
    assert main([str(clip), "--config", str(tmp_path / "bad.toml")]) == 2


def test_cuts_may_be_listed_in_a_file(clip, tmp_path, capsys):
    """After a cut nothing of the shot before counts: the frame there is what it is when the film begins with it."""
    (tmp_path / "cuts.txt").write_text("# frames\n0\n6  # the second shot\n")
    depths = {}
    for name, options in {"listed": ["--cuts", str(tmp_path / "cuts.txt")], "none": ["--cuts", "none"]}.items():
        words = [str(clip), "--model", "fake", "--quiet", "--format", "npz", "-o", str(tmp_path / f"{name}.npz")]
        assert main([*words, *options]) == 0
        depths[name] = np.load(tmp_path / f"{name}.npz")["depth"]
    np.testing.assert_array_equal(depths["listed"][:6], depths["none"][:6])
    assert not np.array_equal(depths["listed"][6], depths["none"][6])


@pytest.mark.parametrize("text", [None, "twelve\n"])
def test_a_file_of_cuts_that_is_none_is_said_to_be_so(clip, tmp_path, capsys, text):
    if text is not None:
        (tmp_path / "cuts.txt").write_text(text)
    assert main([str(clip), "--model", "fake", "--cuts", str(tmp_path / "cuts.txt")]) == 2
    assert "--cuts" in capsys.readouterr().err


def test_key_frames_are_sharper_than_none_and_cost_less_than_all(clip, tmp_path):
    """The fake's sharpener leaves its blur out; what it adds on frames 0 and 6 shows in the frames between too."""
    edges = {}
    for which in ("none", "6", "all"):
        out = tmp_path / f"{which}.npz"
        assert (
            main([str(clip), "--model", "fake", "--quiet", "--sharpen", which, "-o", str(out), "--format", "npz"]) == 0
        )
        edges[which] = np.abs(np.diff(np.load(out)["depth"][3], axis=1)).mean()
    assert edges["none"] < edges["6"]
    assert edges["6"] > 0.8 * edges["all"]


def test_a_film_cut_short_keeps_what_decodes_and_says_so(shared, tmp_path, capsys):
    source = shared / "videos" / "awkward" / "truncated_moov_first.mp4"
    assert main([str(source), "-o", str(tmp_path / "out.mp4"), "--model", "fake"]) == 6
    assert "--tolerant" in capsys.readouterr().err
    assert (tmp_path / "out.mp4").exists()
    again = [str(source), "-o", str(tmp_path / "out.mp4"), "--model", "fake", "--overwrite", "--tolerant"]
    assert main(again) == 0


def test_info_as_json(clip, capsys):
    assert main(["info", str(clip), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"], facts["frames"], facts["rate_kind"]) == (128, 72, 12, "constant")


def test_info_says_what_is_wrong_with_a_file(tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("not a film")
    assert main(["info", str(tmp_path / "text.mp4")]) == 3
    assert "text.mp4" in capsys.readouterr().err


def test_models_shows_licences(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "mini" in out
    assert "Apache-2.0" in out


def test_a_stream_on_standard_input(clip, tmp_path):
    with open(clip, "rb") as stream:
        words = [*COMMAND, "-", "-o", str(tmp_path / "out.mp4"), "--model", "fake", "--quiet"]
        subprocess.run(words, stdin=stream, check=True)
    assert (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_under_a_final_name(tmp_path, number, code):
    source = film(tmp_path / "long.mp4", frames=600, size=(240, 320))
    with subprocess.Popen(
        [*COMMAND, str(source), "--model", "fake", "--format", "ffv1"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a CI job may have it ignored
    ) as process:
        while process.poll() is None and not any(p.stat().st_size for p in tmp_path.glob(".*")):  # until it writes
            time.sleep(0.01)
        process.send_signal(number)
        err = process.communicate()[1]
    assert process.returncode == code, err
    assert names(tmp_path) == ["long.mp4"]


def test_a_full_disk_is_told_and_leaves_nothing(clip, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(full)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        words = [*COMMAND, str(clip), "-o", str(full / "out.npz"), "--model", "fake"]
        run = subprocess.run(words, capture_output=True, text=True, check=False)
        assert run.returncode == 5, run.stderr
        assert "full" in run.stderr
        assert names(full) == []
    finally:
        subprocess.run(["umount", str(full)], check=True)
