"""Pickles and NPZ files: what data needs is read as numpy itself reads it; anything else is refused and not run."""

from __future__ import annotations

import collections
import io
import os
import pickle

import numpy as np
import pytest

from vergence.datasets.formats.pickles import load_npz, load_pickle
from vergence.errors import VergenceError

VALUES = {
    ("S1", "54138969"): {"R": np.eye(3), "T": np.zeros((3, 1), np.float32), "name": "camera1", "id": 7},
    "scalars": [np.float64(1.5), np.int32(-3), np.bool_(True), 2.5, None, "text", b"bytes", (1, 2)],
    "order": collections.OrderedDict(a=1),
    "words": np.array(["Directions 1", "é"]),
    "empty": np.zeros((0, 3)),
    "nested": np.array([None, {"x": np.arange(3)}], dtype=object),
}


def same(a, b):
    if isinstance(a, np.ndarray) and a.dtype == object:
        return a.shape == b.shape and all(same(x, y) for x, y in zip(a.ravel(), b.ravel()))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return type(a) is type(b) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_values_are_read(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(VALUES, protocol=protocol))
    assert same(load_pickle(tmp_path / "a.pkl"), VALUES)


def test_names_of_older_numpy_are_the_same(tmp_path):
    text = pickle.dumps(np.arange(4.0), protocol=2).replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy.core.multiarray" in text
    (tmp_path / "a.pkl").write_bytes(text)
    assert same(load_pickle(tmp_path / "a.pkl"), np.arange(4.0))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_objects_in_it(tmp_path, save):
    poses = {"S1": {"Directions": np.ones((2, 32, 3), np.float32)}}
    save(tmp_path / "a.npz", positions_3d=poses, plain=np.arange(3), parts=np.array([{"a": 1}, None], dtype=object))
    found = load_npz(tmp_path / "a.npz")
    assert same(found["positions_3d"], poses)
    assert same(found["plain"], np.arange(3))
    assert same(found["parts"], np.array([{"a": 1}, None], dtype=object))


class Runs:
    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize(
    "hostile",
    [
        Runs(os.system, "touch WITNESS"),
        Runs(eval, "open('WITNESS', 'w')"),
        Runs(getattr, 1, "real"),
        Runs(np.load, "WITNESS"),
        Runs(np.ndarray.tofile, np.zeros(1), "WITNESS"),
        Runs(__import__, "os"),
    ],
    ids=["system", "eval", "getattr", "numpy.load", "ndarray.tofile", "import"],
)
def test_what_could_run_is_refused_and_not_run(tmp_path, monkeypatch, hostile):
    monkeypatch.chdir(tmp_path)
    for protocol in (0, 2, 4):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({"data": [hostile]}, protocol=protocol))
        with pytest.raises(VergenceError, match="no data file needs") as refused:
            load_pickle(tmp_path / "a.pkl")
        assert "\n" not in str(refused.value)
    np.savez(tmp_path / "a.npz", positions_3d=np.array(hostile, dtype=object))
    with pytest.raises(VergenceError, match=r"positions_3d.npy asks for"):
        load_npz(tmp_path / "a.npz")
    assert not (tmp_path / "WITNESS").exists()


def test_other_codecs_than_the_plain_one_are_refused(tmp_path):
    text = pickle.dumps(b"abc\xff", protocol=2)
    assert b"latin1" in text
    (tmp_path / "a.pkl").write_bytes(text)
    assert load_pickle(tmp_path / "a.pkl") == b"abc\xff"
    (tmp_path / "a.pkl").write_bytes(text.replace(b"latin1", b"rot_13"))
    with pytest.raises(VergenceError, match="rot_13"):
        load_pickle(tmp_path / "a.pkl")


def test_damage_is_one_sentence(tmp_path):
    whole = pickle.dumps(VALUES)
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.pkl").write_bytes(whole[:cut])
        with pytest.raises(VergenceError, match="not a whole pickle"):
            load_pickle(tmp_path / "a.pkl")
    with pytest.raises(VergenceError, match="there is no file"):
        load_pickle(tmp_path / "none.pkl")
    with pytest.raises(VergenceError, match="there is no file"):
        load_npz(tmp_path / "none.npz")
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.arange(1000))
    whole = stream.getvalue()
    damaged = bytearray(whole)
    damaged[60:90] = bytes(30)
    for text in (whole[:200], b"", bytes(damaged)):
        (tmp_path / "a.npz").write_bytes(text)
        with pytest.raises(VergenceError, match="not a whole NPZ"):
            load_npz(tmp_path / "a.npz")


def test_an_archive_that_grows_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(32 << 20, np.uint8))
    with pytest.raises(VergenceError, match=r"a\.npz has .* MiB and would take 32 MiB of memory"):
        load_npz(tmp_path / "a.npz")
