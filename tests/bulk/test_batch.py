"""Many recordings: results as the single verb writes them, failures alone, what is missing done again, stores behind URLs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vergence
from vergence.bulk import task as tasks
from vergence.bulk.batch import batch
from vergence.cli import main
from vergence.errors import VergenceError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are told apart by Linux' /proc")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two that are sound, one that is damaged, and a manifest."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, seed in (("a", 1), ("b", 2)):
        vergence.synthesize(folder / name, frames=30, views=3, size=64, seed=seed, device="cpu")
    shutil.copytree(folder / "a", folder / "bad")
    (folder / "bad" / "keypoints.npz").write_bytes(b"nothing")
    (folder / "list.txt").write_text("# recordings\na\nbad\n\n" + json.dumps({"path": "b", "name": "second"}) + "\n")
    return folder


def states(found) -> dict[str, str]:
    return {one.name: one.state for one in found.outcomes}


@pytest.fixture(scope="module")
def done(recordings, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    told = []
    found = batch(
        "reconstruct", recordings / "list.txt", out, workers=2, options={"formats": "npz,csv"},
        progress=lambda *words: told.append(words),
    )  # fmt: skip
    return found, out, told


def test_a_bad_recording_fails_alone_and_with_its_reason(done):
    found, out, told = done
    assert states(found) == {"a": "done", "bad": "failed", "second": "done"}
    assert "not a readable NPZ" in found.failed["bad"]
    kept = json.loads((out / "batch" / "manifest.json").read_text())
    assert kept["counts"] == {"done": 2, "failed": 1, "waiting": 0}
    assert [one["name"] for one in kept["recordings"]] == ["a", "bad", "second"]
    assert told[-1] == ("reconstruct", 3, 3)


def test_results_are_the_single_verbs(done, recordings, tmp_path):
    out = done[1] / "second"
    assert main(["reconstruct", str(recordings / "b"), "--out", str(tmp_path), "--formats", "npz,csv"]) == 0
    assert {file.name for file in out.iterdir()} == {file.name for file in tmp_path.iterdir()}
    ours, theirs = (np.load(folder / "poses.npz") for folder in (out, tmp_path))
    assert np.allclose(ours["pose"], theirs["pose"], equal_nan=True, atol=1e-9)
    assert (out / "rig.toml").read_text() == (tmp_path / "rig.toml").read_text()


def test_the_same_call_does_what_is_missing(done, recordings, monkeypatch):
    _, out, _ = done
    began = []
    real = tasks._in_a_process
    monkeypatch.setattr(
        tasks, "_in_a_process", lambda task, *more: began.append(task.recording.name) or real(task, *more)
    )
    options = {"formats": "npz,csv"}
    again = batch("reconstruct", recordings / "list.txt", out, workers=2, options=options, keep_failed=True)
    assert (began, again.before, len(again.failed)) == ([], 2, 1)
    batch("reconstruct", recordings / "list.txt", out, workers=2, options=options)
    assert began == ["bad"]
    (out / "batch" / "a.json").unlink()
    batch("reconstruct", recordings / "list.txt", out, workers=2, options=options, keep_failed=True)
    assert began == ["bad", "a"]


def test_a_killed_process_and_one_without_an_end_lose_one_recording_each(recordings, tmp_path):
    """As the process itself sees it: a plug-in takes the place of a fault in a decoder."""
    (tmp_path / "fault.py").write_text(
        "import os, signal, time\nname = os.readlink('/proc/self/fd/1')\n"
        "if 'dies' in name: os.kill(os.getpid(), signal.SIGKILL)\nif 'sleeps' in name: time.sleep(600)\n"
    )
    lines = [{"path": "a", "name": name} for name in ("dies", "sleeps", "plain")]
    (recordings / "killed.txt").write_text("\n".join(json.dumps(line) for line in lines))
    options = {"plugins": str(tmp_path / "fault.py")}
    found = batch("detect", recordings / "killed.txt", tmp_path / "out", options=options, workers=2, timeout=20)
    assert "SIGKILL" in found.failed["dies"]
    assert "longer than 20 s" in found.failed["sleeps"]
    assert found.done == ["plain"]


def test_a_process_ends_when_nobody_waits_for_it(recordings, tmp_path):
    (tmp_path / "tells.py").write_text(
        f"import os, time, pathlib\npathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(600)\n"
    )
    context = tasks.multiprocessing.get_context(tasks.METHOD)
    ours, theirs = context.Pipe()
    words = [str(recordings / "a"), f"--out={tmp_path / 'out'}", f"--plugins={tmp_path / 'tells.py'}"]
    process = context.Process(target=tasks._work, args=("detect", words, str(tmp_path / "log"), 1, theirs))
    process.start()
    theirs.close()
    for _ in range(600):
        if (tmp_path / "pid").exists() or not process.is_alive():
            break
        tasks.time.sleep(0.1)
    assert (tmp_path / "pid").exists()
    ours.close()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL


def test_an_interrupted_call_leaves_what_it_ran_waiting(recordings, tmp_path):
    found = tasks.carry_out(
        tasks.Task("reconstruct", vergence.bulk.manifest.Recording("a", "a"), str(recordings), str(tmp_path), {}),
        stopped=lambda: True,
    )
    assert found.state == "waiting"
    assert not (tmp_path / "batch" / "a.json").exists()


def test_recordings_and_results_may_lie_in_a_store(recordings, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    store.put(str(recordings / "a"), "/takes/a", recursive=True)
    store.pipe_file("/takes/list.txt", b"a\nnowhere\n../else\n")
    store.pipe_file("/takes/a/../../etc", b"")
    found = batch("reconstruct", "memory://takes/list.txt", "memory://results", workers=1)
    assert states(found) == {"a": "failed", "nowhere": "failed", "else": "failed"}
    assert "leads out of" in found.failed["a"]
    store.rm_file("/takes/a/../../etc")
    found = batch("reconstruct", "memory://takes/list.txt", "memory://results", workers=1)
    assert states(found) == {"a": "done", "nowhere": "failed", "else": "failed"}
    assert "nothing at" in found.failed["nowhere"]
    assert "leads out of" in found.failed["else"]
    names = {name.rsplit("/", 1)[1] for name in store.find("/results/a")}
    assert {"poses.npz", "rig.toml", "results.json", "report.html"} <= names
    assert batch("reconstruct", "memory://takes/list.txt", "memory://results", keep_failed=True).before == 1


def test_on_ray(recordings, tmp_path):
    pytest.importorskip("ray")
    found = batch("reconstruct", recordings / "list.txt", tmp_path, workers=2, engine="ray")
    assert states(found) == {"a": "done", "bad": "failed", "second": "done"}
    assert (tmp_path / "second" / "report.html").is_file()


def test_without_ray_it_is_said_how_to_get_it(recordings, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(VergenceError, match=r"vergence\[ray\]"):
        batch("reconstruct", recordings / "list.txt", tmp_path, engine="ray")


def test_the_verb(recordings, tmp_path, capsys):
    words = ["batch", "reconstruct", str(recordings / "list.txt"), "--out", str(tmp_path), "--workers", "1"]
    assert main([*words, "--formats", "csv", "--focal=each"]) == 1
    shown = capsys.readouterr().out
    assert "bad: " in shown
    assert "2 of 3 done; 1 failed" in "".join(shown.split("\n"))
    assert not (tmp_path / "a" / "poses.trc").exists()
    assert main([*words, "--formats", "csv", "--focal=each", "--quiet"]) == 1
    assert "2 of 3 done (2 of them before)" in "".join(capsys.readouterr().out.split("\n"))
    assert main([*words, "--height2", "3"]) == 2
    assert "no option 'height2' for a batch. Did you mean height? It has " in " ".join(capsys.readouterr().err.split())
    assert os.listdir(Path(tmp_path, "batch"))


def test_a_reconstruction_does_not_wait_for_torch_to_load(recordings, tmp_path):
    """It takes longer to load than a short recording takes."""
    script = (
        "import sys\nfrom multiprocessing import Pipe\nfrom vergence.bulk.task import _work\n"
        "ours, theirs = Pipe()\n"
        f"words = [{str(recordings / 'a')!r}, {'--out=' + str(tmp_path / 'out')!r}]\n"
        f"_work('reconstruct', words, {str(tmp_path / 'log.txt')!r}, 1, theirs)\n"
        "assert ours.recv()[0] == '' and 'torch' not in sys.modules\nimport os\nos._exit(0)\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_the_server_has_all_that_a_task_imports(recordings, tmp_path):
    """A name that it cannot import is left out without a word."""
    script = (
        "import gc, os, sys\nfrom importlib import import_module\nfrom multiprocessing import Pipe\n"
        "from vergence.bulk import task\n"
        "for name in [*task.ANYWAY, 'vergence.commands.reconstruct', *task.NEEDED['reconstruct'], *task.LAST]:\n"
        "    import_module(name)\n"
        "assert gc.get_freeze_count() > 1000\nbefore = set(sys.modules)\nours, theirs = Pipe()\n"
        f"words = [{str(recordings / 'a')!r}, {'--out=' + str(tmp_path / 'out')!r}]\n"
        f"task._work('reconstruct', words, {str(tmp_path / 'log.txt')!r}, 1, theirs)\n"
        f"open({str(tmp_path / 'new.txt')!r}, 'w').write(' '.join(set(sys.modules) - before))\nos._exit(0)\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
    assert len((tmp_path / "new.txt").read_text().split()) < 5
