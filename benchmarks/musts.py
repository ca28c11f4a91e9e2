"""Which of the aims of steadiness are reached, by the JSON lines that runs of temporal.py printed.

    python benchmarks/temporal.py ... | tee a.log; python benchmarks/musts.py a.log [b.log...]

Every figure is smoothed against frame by frame in the same run. Clips are indoor, slow or fast, as FAST says; the mean of each
kind is held against the aim, and the worst clip is named beside it. Exact depth has an alignment error too, from edges that
fall between pixels: behind a wire fence it may be more than an estimate's, and no filter can be asked to go below it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path

FAST = 1.0  # percent of the longer side that the picture moves from frame to frame, above which a video is fast
Score = dict[str, float]


def last_line(file: Path) -> dict:
    return json.loads(file.read_text().strip().splitlines()[-1])


def pairs(runs: Iterable[dict], one: str = "per frame", other: str = "smoothed") -> dict[str, tuple[Score, Score]]:
    """Of each clip that has both what was measured on two of its kinds of maps."""
    found: dict[str, dict[str, Score]] = {}
    for run in runs:
        for score in run["scores"]:
            found.setdefault(score["clip"], {})[score["maps"]] = score
    return {clip: (maps[one], maps[other]) for clip, maps in found.items() if one in maps and other in maps}


def change(of: str, clips: dict[str, tuple[Score, Score]]) -> dict[str, float]:
    """Percent, of each clip that has the measure."""
    return {
        c: 100 * (after[of] / before[of] - 1) for c, (before, after) in clips.items() if before.get(of) and of in after
    }


def line(what: str, aim: float, found: dict[str, float], worst: Callable = max) -> str:
    if not found:
        return f"{what:58}{aim:>8}{'-':>10}"
    mean, name = sum(found.values()) / len(found), worst(found, key=lambda clip: found[clip])
    missed = mean > aim if worst is max else mean < aim
    return f"{what:58}{aim:>8}{mean:>10.3f}  {'MISSED' if missed else 'ok':8}{found[name]:>8.3f} {name}"


def table(runs: list[dict]) -> str:
    clips = pairs(runs)
    told = {clip: found for run in runs for clip, found in run["disturbed"].items()}
    fast = {c: p for c, p in clips.items() if c == "hololens"}
    posed = {c: p for c, p in clips.items() if "tae" in p[0] and c not in fast and c != "iphone"}
    reachable = {c: p for c, p in posed.items() if p[0].get("tae_exact", 0) < 0.4 * p[0]["tae"]}
    videos = {c: p for c, p in clips.items() if "tae" not in p[0]}
    slow_video = {c: p for c, p in videos.items() if p[0]["pace"] <= FAST}
    fast_video = {c: p for c, p in videos.items() if c not in slow_video}
    f1, keys = (
        {c: 1 + percent / 100 for c, percent in change("boundary_f1", some).items()}
        for some in (posed, pairs(runs, "sharpened", "carried"))
    )
    costs = {f"log {number}": 100 * run["cost"] for number, run in enumerate(runs, 1) if run["cost"]}
    dolly = {c: 100 * found["left_truth"] for c, found in told.items() if "left_truth" in found and "dolly" in c}

    def of_all(measure: str, times: float = 1) -> dict[str, float]:
        return {c: times * found[measure] for c, found in told.items() if measure in found}

    return "\n".join(
        [
            f"{'aim':58}{'must':>8}{'mean':>10}  {'':8}{'worst':>8}",
            line("TAE of hololens, %", -25, change("tae", fast)),
            line("TAE of the rendered clips and indoor videos, %", -60, change("tae", posed)),
            line("  those of which exact depth has less than that", -60, change("tae", reachable)),
            line("AbsRel with one scale and shift for the clip, %", 0, change("absrel_clip", posed | fast)),
            line("AbsRel with a scale and shift for each frame, %", 1, change("absrel_frame", posed | fast)),
            line("OPW of slow videos, %", -50, change("opw", slow_video)),
            line("OPW of fast videos, %", -25, change("opw", fast_video)),
            line("injected jitter that is left, %", 10, of_all("jitter_left", 100)),
            line("dolly, how far from true, %", 2, dolly),
            line("AbsRel of what moves, %", 2, change("movers", posed)),
            line("boundary F1, smoothed over per frame", 0.98, f1, min),
            line("boundary F1, key frames sharpened over every frame", 0.95, keys, min),
            line("cuts, F1", 0.95, of_all("cuts_f1"), min),
            line("drift of the scale over 3,000 frames, %", 3, of_all("loop_drift", 100)),
            line("cost of flow and fold, % of the network", 40, costs),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="+", type=Path, help="what runs of temporal.py printed")
    print(table([last_line(log) for log in parser.parse_args().logs]))
