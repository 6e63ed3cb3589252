"""A device is one that is there."""

import pytest
import torch

from vergence.errors import VergenceError
from vergence.networks.devices import resolve_device


@pytest.mark.parametrize(
    ("cuda", "mps", "auto"), [(False, False, "cpu"), (False, True, "mps"), (True, False, "cuda"), (True, True, "cuda")]
)
def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, auto: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto") == auto
    assert resolve_device("cpu") == "cpu"
    for name, there in (("cuda", cuda), ("mps", mps)):
        if there:
            assert resolve_device(name) == name
        else:
            with pytest.raises(VergenceError, match=f"no device '{name}'"):
                resolve_device(name)
    with pytest.raises(VergenceError, match="no device is called 'gpu'"):
        resolve_device("gpu")
