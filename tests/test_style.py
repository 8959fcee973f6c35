"""All figures have one style: its colours, its resolution, and a PDF beside each picture."""

import importlib
import re

import drawn
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from pages import ROOT
from PIL import Image

from experiments.shared import results
from hypergrad import style

SOURCES = [path for folder in ("hypergrad", "experiments") for path in (ROOT / folder).rglob("*.py")]
PICTURES = sorted(results.FIGURES.glob("*/part*.png"))


def linear(colour) -> np.ndarray:
    """Light of red, green and blue of an sRGB colour."""
    c = np.array(matplotlib.colors.to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def seen(colour, missing) -> np.ndarray:
    """A colour as seen without the long or the medium cones (Viénot, Brettel & Mollon 1999), from 0 to 1 again."""
    red, green, blue = linear(colour)
    if missing == "long":
        yellow, blue = 0.11238 * red + 0.88762 * green, 0.00401 * red - 0.00401 * green + blue
    else:
        yellow, blue = 0.29275 * red + 0.70725 * green, -0.02234 * red + 0.02234 * green + blue
    return np.clip([yellow, yellow, blue], 0.0, 1.0) ** (1 / 2.2)


@pytest.mark.parametrize("missing", ["long", "medium"])
def test_the_colours_are_told_apart_without_one_kind_of_cones(missing):
    closest = []
    for colours in (style.CYCLE, matplotlib.colormaps["tab10"].colors[:8]):  # and those that matplotlib would take
        found = [seen(colour, missing) for colour in colours]
        closest.append(min(np.linalg.norm(a - b) for i, a in enumerate(found) for b in found[:i]))
    assert closest[0] > 0.14 and closest[0] > 1.5 * closest[1]


def test_no_figure_brings_colours_of_its_own():
    known = {colour.upper() for colour in style.CYCLE}
    assert len(known) == 8 and len(SOURCES) > 100
    for path in SOURCES:
        found = {
            colour.upper() for colour in re.findall(r"[\"'](#[0-9A-Fa-f]{6})[\"']", path.read_text(encoding="utf-8"))
        }
        assert {colour for colour in found if len(set(re.findall("..", colour[1:]))) > 1} <= known, path
        by_number = re.findall(r"f?[\"']C(?:[0-9]|\{\w+\})[\"']", path.read_text(encoding="utf-8"))
        assert not by_number, f"{path}: {by_number[0]} is looked up when it is saved, outside of the style"


def test_names_of_ways_and_of_estimators_are_of_different_colours():
    ways = style.DEFAULT, style.CONSTANT, style.LEARNED, style.LEARNED_TOO, style.RANDOM_SEARCH, style.TPE
    ways += style.EVOLUTION, style.OWN_RULE
    estimators = style.EXACT, style.FORWARD, style.SMOOTHED, style.MIXED, style.TRUNCATED, style.TRUNCATED_LONG
    estimators += style.PERSISTENT, style.PERSISTENT_LONG, style.IMPLICIT, style.IMPLICIT_NEUMANN
    for names in (ways, estimators):
        assert len(set(names)) == len(names)
    assert style.darker("#FF8005") == "#994D03"


ESTIMATORS = [
    f"{path.parent.name}.{path.stem}"
    for path in (results.EXPERIMENTS / "parts").glob("*/estimator_*.py")
    if "\nCOLOURS" in path.read_text()
]


@pytest.mark.parametrize("missing", ["long", "medium"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_of_one_figure_are_told_apart(name, missing):
    colours = importlib.import_module(f"experiments.parts.{name}").COLOURS
    for shown in colours.values() if isinstance(colours, dict) else [colours]:
        found = [seen(colour, missing) for colour in shown]
        assert len(found) >= 5 and len(ESTIMATORS) >= 9
        assert min(np.linalg.norm(a - b) for i, a in enumerate(found) for b in found[:i]) > 0.14


def test_a_thing_in_the_colour_of_another_is_found():
    figure, axis = plt.subplots()
    axis.plot([], [], color=style.EXACT, label="exact")
    axis.errorbar([0.0], [0.0], [1.0], color=style.LEARNED, label="hypergradient, Adam 0.2")
    assert drawn.means_the_same(figure) == {"exact", "hypergradient"}
    axis.plot([], [], color=style.EXACT, label="smoothed")
    with pytest.raises(AssertionError, match="smoothed"):
        drawn.means_the_same(figure)
    plt.close(figure)
    for path in ("estimators_by_problem", 4, 4), ("feb13_equal_cost", 1, 4):
        module = importlib.import_module(f"experiments.{path[0]}")
        config, found = results.load(module, results.FIGURES / path[0], path[1])
        assert len(drawn.means_the_same(results.kind(config).plot(found, config))) == path[2]


def test_figures_are_drawn_in_the_style_and_saved_so(tmp_path):
    before = dict(matplotlib.rcParams)
    with plt.rc_context(style.STYLE):
        cycle = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
        assert [colour.upper() for colour in cycle] == [colour.upper() for colour in style.CYCLE]
    assert dict(matplotlib.rcParams) == before
    assert style.seed_colour(0) == style.BLUE and style.seed_colour(8) == style.BLUE
    assert len({style.seed_colour(seed) for seed in range(8)}) == 8


def test_pictures_have_the_resolution_of_print_and_a_pdf_beside_them():
    assert len(PICTURES) > 40
    weight = 0
    for path in PICTURES:
        with Image.open(path) as image:
            assert image.info["dpi"] == pytest.approx((style.DPI, style.DPI), abs=0.1), path
        data = path.with_suffix(".pdf").read_bytes()
        assert data.startswith(b"%PDF"), path
        weight += len(data)
    assert weight < 10e6


def test_clouds_of_points_are_pixels_in_a_pdf():
    figure, (left, right) = plt.subplots(1, 2)
    (few,), (many,) = left.plot(range(10)), left.plot(range(2 * results.CLOUD), ".")
    lines = [right.plot(range(100))[0] for _ in range(results.MANY // 100 + 1)]
    results.rasterise_clouds(figure)
    plt.close(figure)
    assert many.get_rasterized() and not few.get_rasterized() and all(line.get_rasterized() for line in lines)
