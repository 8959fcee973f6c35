"""The text of the character models: what it is, its pieces, and what is said where it is missing."""

import numpy as np
import pytest

from experiments.shared import text


def test_the_text_is_what_it_is_said_to_be():
    whole = text.whole()
    assert text.as_text(whole[:54]) == "In the beginning God created the heaven and the earth."
    assert whole.max() < 128 and (whole == ord("\n")).sum() == 31_102
    assert sum(map(len, (text.training(), text.validation(), text.test()))) == len(whole)


def test_targets_are_the_characters_that_follow():
    X, T = text.windows(text.training(), 5, 12, seed=0)
    assert X.shape == T.shape == (5, 12)
    np.testing.assert_array_equal(X[:, 1:], T[:, :-1])
    again, _ = text.windows(text.training(), 5, 12, seed=0)
    np.testing.assert_array_equal(X, again)
    assert text.as_text(np.append(X[0], T[0, -1])) in text.as_text(text.training())
    with pytest.raises(text.TextError, match="a text of 3 characters has no piece of 12"):
        text.windows(text.whole()[:3], 1, 12, seed=0)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "is missing"), (b"no", "is no xz file"), (b"other", "another text")]
)
def test_a_text_that_is_not_there(content, words, tmp_path, monkeypatch):
    import lzma

    file = tmp_path / "text.xz"
    if content is not None:
        file.write_bytes(lzma.compress(content) if content == b"other" else content)
    monkeypatch.setattr(text, "FILE", file)
    text.whole.cache_clear()
    with pytest.raises(text.TextError, match=words):
        text.whole()
    text.whole.cache_clear()
