"""Smoothing over time: what it does, and that pieces are smoothed as the whole is."""

from __future__ import annotations

import numpy as np
import pytest

from vergence.errors import VergenceError
from vergence.inference.recording.smoothing import smoothed, window_frames, words

FRAMES = np.arange(120)
TRUTH = np.c_[0.02 * (FRAMES - 60) ** 2, 3.0 * FRAMES]
NOISY = TRUTH + np.random.default_rng(0).normal(size=TRUTH.shape)


def test_noise_is_less_and_a_parabola_stays():
    np.testing.assert_allclose(smoothed(TRUTH, FRAMES, 9), TRUTH, atol=1e-9)
    assert np.std(smoothed(NOISY, FRAMES, 9) - TRUTH) < 0.6 * np.std(NOISY - TRUTH)
    np.testing.assert_array_equal(smoothed(NOISY, FRAMES, 0), NOISY)


def test_nothing_is_filled_and_nothing_crosses_a_gap():
    values, frames = NOISY.copy(), FRAMES + 10 * (FRAMES >= 80)
    values[40:43] = np.nan
    values[70, 1] = np.nan
    values[100:] += 1000
    found = smoothed(values, frames, 9)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    np.testing.assert_allclose(found[:40], smoothed(values[:40], frames[:40], 9), atol=1e-9)
    np.testing.assert_allclose(found[43:80, 0], smoothed(values[43:80], frames[43:80], 9)[:, 0], atol=1e-9)
    values[90:] = np.nan
    np.testing.assert_allclose(smoothed(values, frames, 9)[:80], found[:80], atol=1e-9)


def test_a_piece_with_a_window_around_it_is_smoothed_as_the_whole():
    values, window = NOISY.copy(), 11
    values[25:27] = values[33] = np.nan
    whole = smoothed(values, FRAMES, window)
    for start in range(0, 120, 10):
        low, high = max(0, start - window), min(120, start + 10 + window)
        piece = smoothed(values[low:high], FRAMES[low:high], window)[start - low : start - low + 10]
        np.testing.assert_allclose(piece, whole[start : start + 10], atol=1e-9)


def test_the_window_in_frames_and_in_words():
    assert window_frames(0, 30) == 0
    assert window_frames(0.2, 30) == 7
    assert window_frames(0.01, 30) == 5
    assert words(7, 30.0) == "Savitzky-Golay of order 2 over 7 frames (0.233 s)"
    for seconds in (-1, 3, float("nan")):
        with pytest.raises(VergenceError, match="--smooth"):
            window_frames(seconds, 30)
