"""Draws what each source of training data brought: the JSON lines of `train_mini.py --compare` as bars, in one SVG.

python pipelines/train_mini.py DATA --out CK --compare 130 --minutes 0 --sharpen-minutes 0 | tee LOG
python pipelines/plot_sources.py LOG docs/sources.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

# Of the held-out figures: what they are, and how they are written.
PANELS = {
    "photos": ("photographs: error against the teacher", ".3f"),
    "absrel": ("rendered frames: AbsRel", ".3f"),
    "degrees": ("rendered frames: normals, degrees", ".1f"),
}
LABEL, BAR, ROW, GAP, TOP = 130, 200, 22, 90, 58  # pixels


def read_lines(log: Path) -> list[dict]:
    """The lines that say what was left out."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"without"')]
    if not lines:
        raise SystemExit(f"{log}: no line of train_mini.py --compare in it")
    return lines


def draw(lines: list[dict]) -> str:
    """SVG text: a panel for each figure, a bar for each source left out; shorter is better."""
    width, height = LABEL + len(PANELS) * (BAR + GAP), TOP + ROW * len(lines) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="8" y="20">Held-out error after {lines[0]["steps"]} steps from the teacher, one source left out'
        " (shorter is better)</text>",
    ]
    for row, line in enumerate(lines):
        parts.append(f'<text x="8" y="{TOP + ROW * row + 14}">without {line["without"]}</text>')
    for number, (name, (title, form)) in enumerate(PANELS.items()):
        left, most = LABEL + number * (BAR + GAP), max(line[name] for line in lines)
        parts.append(f'<text x="{left}" y="{TOP - 10}" fill="#555">{title}</text>')
        for row, line in enumerate(lines):
            y, length = TOP + ROW * row, BAR * line[name] / most
            colour = "#888" if line["without"] == "nothing" else "#3b6ea8"
            parts.append(f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{ROW - 7}" fill="{colour}"/>')
            parts.append(f'<text x="{left + length + 5:.1f}" y="{y + 14}">{line[name]:{form}}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.write_text(draw(read_lines(options.log)))


if __name__ == "__main__":
    main()
