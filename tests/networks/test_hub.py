"""The hub asked once and briefly: a folder, a cache, an answer, or one sentence."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

import pytest

from vergence.networks import hub
from vergence.networks.hub import hub_options, reachable


def unreachable(*_, **__):
    raise urllib.error.URLError("no route")


def refusing(request, **_):
    raise urllib.error.HTTPError(request.full_url, 403, "no", None, None)  # type: ignore[arg-type]


def test_without_a_network_it_is_told_at_once_with_the_local_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=r"owner/net is no folder and in no cache here"):
        hub_options("owner/net")
    assert time.monotonic() - started < 10
    assert hub_options(str(tmp_path)) == {}


def test_what_is_in_the_cache_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "/cache/config.json")
    assert hub_options("owner/net") == {"local_files_only": True}


def test_an_answer_that_refuses_is_an_answer(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", refusing)
    assert reachable("https://hub.example")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub.reachable("https://hub.example")
