"""Settings: one place of defaults, errors that name the near word."""

from dataclasses import fields
from pathlib import Path

import pytest

from lotus2_video import RunConfig, UsageError, configure, load_toml


def test_settings_land_on_the_defaults():
    config = configure({"maps": "depth,normal", "side-by-side": True, "fold": {"memory": 0.5}, "sharpen": 12})
    assert config.maps == ("depth", "normal")
    assert config.side_by_side
    assert config.fold.memory == 0.5
    assert config.sharpen == "12"
    assert config.chunk == RunConfig().chunk


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"colourmap": "turbo"}, "did you mean colormap?"),
        ({"fold": {"memmory": 1}}, "did you mean memory?"),
        ({"colormap": "infernal"}, "did you mean inferno?"),
        ({"res": 0}, "at least 1"),
        ({"fps": -1.0}, "above 0"),
        ({"maps": "depth,depth"}, "--maps"),
        ({"sharpen": "often"}, "--sharpen"),
        ({"start": 3.0, "end": 2.0}, "--end"),
        ({"smooth": "yes"}, "true or false"),
    ],
)
def test_a_wrong_setting_says_what_where_and_what_to_do(settings, said):
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        configure(settings)


def test_a_file_that_is_missing_or_not_toml_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no\.toml"):
        load_toml(tmp_path / "no.toml")
    (tmp_path / "bad.toml").write_text("model = ")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_toml(tmp_path / "bad.toml")


def test_every_option_of_the_command_is_a_field_of_the_configuration():
    from lotus2_video.cli import _NOT_SETTINGS, _parse

    words = ["run", "x", "--side-by-side", "--no-smooth", "--tolerant", "--overwrite", "--res", "96", "--fps", "9"]
    given = set(vars(_parse(words))) - set(_NOT_SETTINGS)
    assert given == {"side_by_side", "smooth", "tolerant", "overwrite", "res", "fps"}
    assert given <= {f.name for f in fields(RunConfig)}


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "configs").glob("*.toml")), ids=lambda p: p.name)
def test_every_preset_loads(path):
    assert configure(load_toml(path), where=path) != RunConfig()
