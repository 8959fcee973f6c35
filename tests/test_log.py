"""The numbers of the log are those of the checked-in results."""

import functools
import importlib
import re

import pytest

from experiments import check_log
from experiments.shared import log_numbers, results

LOG = check_log.LOG.read_text(encoding="utf-8")
numbers_of = functools.cache(check_log.numbers_of)


def test_every_marked_number_is_that_of_the_checked_in_results():
    assert log_numbers.disagreements(LOG, numbers_of) == []


PAGES = {page.name: page.read_text(encoding="utf-8") for page in (results.ROOT / "docs").glob("*.md")}
PAGES = {name: text for name, text in PAGES.items() if re.search(r"<!-- \w+ \d+: ", text)}


@pytest.mark.parametrize("name", PAGES)
def test_pages_quote_the_checked_in_results(name):
    assert {"chaos.md", "estimators.md", "long_runs.md"} <= set(PAGES)
    text = re.sub(r"<!-- (end of )?\w+ -->", "", PAGES[name])  # around tables of numbers from other files
    assert log_numbers.disagreements(text, numbers_of) == []


@pytest.mark.parametrize(
    "entry", re.split("^## ", LOG, flags=re.MULTILINE)[1:], ids=lambda entry: entry.partition(":")[0]
)
def test_an_entry_begins_with_its_command_and_its_answer(entry):
    _, command, answer, *_ = entry.split("\n\n")
    assert command.startswith("`python -m experiments.") and answer.startswith("**Answer")
    sentences = re.sub(r"<!--.*?-->|\d[.]\d", "", answer, flags=re.DOTALL)
    assert len(re.findall(r"[.!?](?=\s|$)", sentences)) <= 3


def test_whoever_names_numbers_has_some_in_the_log():
    named = {(mark.experiment, mark.part) for mark in log_numbers.marks(LOG)}
    assert named
    for name in results.questions():
        module = importlib.import_module(f"experiments.{name}")
        for part, config in module.PARTS.items():
            if hasattr(results.kind(config), "numbers") and numbers_of(name, part):
                assert (name, part) in named, (name, part)


ENTRY = """# Log

Newest first. 3 entries.

## 2 January 2015: a question of 2015?

`python -m experiments.second` ([file](second.py))

The loss fell from 0.385 to 0.107<!-- 4: found -->, or to
0.114, 0.111 and 0.095<!-- 4: by seed --> for seeds 0 to 2.

| a | 10¹⁶⁹<!-- first 2: huge --> |

## 1 January 2015: 1?

`python -m experiments.first` ([file](first.py))

Of 1,200<!-- 1: steps --> steps −2.4·10⁻⁴<!-- 1: slope -->, by 38 %<!-- 1:
share -->, in e^1.5<!-- 1: power -->.
"""
VALUES = {
    ("second", 4): {"found": 0.10749, "by seed": [0.1142, 0.1105, 0.095]},
    ("first", 2): {"huge": 3e169},
    ("first", 1): {"steps": 1200, "slope": -2.4499e-4, "share": 38.49, "power": 1.5499},
}


def found_in(entry, **other):
    of = lambda name, part: {**VALUES[name, part], **other}
    return log_numbers.disagreements(entry, of)


def test_marks_belong_to_the_experiment_of_their_entry_or_the_one_they_name():
    found = log_numbers.marks(ENTRY)
    assert [mark[:4] for mark in found[:3]] == [
        (9, "second", 4, "found"),
        (10, "second", 4, "by seed"),
        (12, "first", 2, "huge"),
    ]
    assert [mark.name for mark in found[3:]] == ["steps", "slope", "share", "power"]
    assert found_in(ENTRY) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("found", 0.10751, "line 9: second, part 4, found: 0.107 is written, and it is 0.10751"),
        ("found", float("nan"), "0.107 is written, and it is nan"),
        ("found", [0.385, 0.1, 0.2, 0.3, 0.4, 0.5], "6 numbers are named, and 2 stand before the mark"),
        ("by seed", [0.1142, 0.1129, 0.095], "line 10: second, part 4, by seed: 0.111 is written, and it is 0.1129"),
        ("huge", 4e169, "10¹⁶⁹ is written, and it is 4e+169"),
        ("steps", 1201, "1,200 is written, and it is 1201"),
        ("slope", 2.4e-4, "−2.4·10⁻⁴ is written, and it is 0.00024"),
        ("slope", -2.46e-4, "−2.4·10⁻⁴ is written, and it is -0.000246"),
        ("share", 0.38, "38 is written, and it is 0.38"),
        ("power", 1.6, "1.5 is written, and it is 1.6"),
    ],
)
def test_other_values_are_noticed(name, value, words):
    (sentence,) = found_in(ENTRY, **{name: value})
    assert words in sentence


def test_names_that_there_are_not_and_comments_that_are_no_marks():
    (sentence,) = found_in(ENTRY.replace("4: found", "4: lost"))
    assert "has no number of that name; it has found, by seed" in sentence
    for comment in ("<!-- found -->", "<!-- 4 found -->", "<!-- later -->"):
        with pytest.raises(ValueError, match=f"line 9: .* got {comment}"):
            log_numbers.marks(ENTRY.replace("<!-- 4: found -->", comment))
    with pytest.raises(ValueError, match="line 9"):
        log_numbers.marks(ENTRY.replace("`python -m experiments.second`", "no command"))


def test_the_command(capsys, monkeypatch, tmp_path):
    assert check_log.main([]) == 0 and "every marked number" in capsys.readouterr().out
    log = tmp_path / "LOG.md"
    log.write_text(ENTRY, encoding="utf-8")
    monkeypatch.setattr(check_log, "LOG", log)
    assert check_log.main([]) == 2 and "there is no experiment second" in capsys.readouterr().err
    assert check_log.main(["jan15_lr_schedule", "9"]) == 2 and "there is no part 9" in capsys.readouterr().err
    assert check_log.main(["jan15_lr_schedule", "4"]) == 0 and "best, all three: " in capsys.readouterr().out
