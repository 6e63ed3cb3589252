import pytest

from vergence.errors import VergenceError
from vergence.footage.video import wanted_frames


def test_frames_in_words():
    assert wanted_frames("", 3) == [0, 1, 2]
    assert wanted_frames("8-99, 2,1-3", 10) == [1, 2, 3, 8, 9]
    refused = {
        "a-b": "numbers and ranges",
        "-3": "numbers and ranges",
        "5-2": "5-2 runs backwards",
        "12": "frames 0 to 9",
    }
    for text, words in refused.items():
        with pytest.raises(VergenceError, match=words):
            wanted_frames(text, 10)
