"""The command line: help at once, and one sentence where something is wrong."""

from __future__ import annotations

import ast
import errno
import inspect
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from vergence import __version__, cli

HEAVY = ("torch", "numpy", "scipy", "cv2", "av", "lightning", "transformers", "PIL", "rich")


def loaded_by(words: list[str]) -> tuple[int, set[str], str]:
    """Exit status, heavy libraries that were imported, and the output of `vergence WORDS` in a new interpreter."""
    code = (
        "import sys\nfrom vergence.cli import main\n"
        f"try:\n    status = main({words!r})\nexcept SystemExit as end:\n    status = end.code or 0\n"
        f"sys.stderr.write('LOADED ' + ' '.join(m for m in {HEAVY!r} if m in sys.modules))\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    text, _, loaded = done.stderr.rpartition("LOADED ")
    return done.returncode, set(loaded.split()), done.stdout + text


def test_help_imports_nothing_heavy_and_names_every_verb():
    status, heavy, text = loaded_by(["--help"])
    assert (status, heavy) == (0, set())
    assert all(verb in text for verb in cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_a_verb_imports_nothing_heavy(verb):
    status, heavy, text = loaded_by([verb, "--help"])
    assert (status, heavy) == (0, set())
    assert f"vergence {verb}" in text


def test_the_installed_command_answers():
    done = subprocess.run(
        [sys.executable, "-m", "vergence.cli", "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, f"vergence {__version__}")


def test_no_words_at_all_show_the_verbs(capsys):
    assert cli.main([]) == 0
    assert "vergence VERB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian", "demo"], "Did you mean train?"),
        (["frobnicate"], "there is no verb 'frobnicate'"),
        (["demo", "--sede", "1"], "--sede"),
        (["demo", "--seed", "many"], "seed"),
        (["synth"], "out"),
        (["synth", "here", "--kind", "videos"], "videos"),
        (["train", "no_such_recipe"], "no recipe 'no_such_recipe'"),
        (["train", "demo", "--stages.pose.train.stesp", "5"], "Did you mean stages.pose.train.steps?"),
        (["train", "demo", "--stages.nosuch.train.steps", "5"], "the recipe has no stages.nosuch"),
        (["train", "demo", "--image_size", "big"], "image_size"),
        (["reconstruct", "no_such_capture"], "no_such_capture"),
        (["predict", "no_such_run", "no_such_video.mp4"], "no_such"),
        (["predict", "walk.mp4", "--height", "nan"], "--height nan. Give a number;"),
        (["predict", "walk.mp4", "--people", "two"], "--people two. Give one or all;"),
        (["predict", "walk.mp4", "--flip", "maybe"], "--flip maybe. Give true or false;"),
        (["inspect", "videos", "--frames", "2.5"], "--frames 2.5. Give a whole number;"),
        (["export", "runs/mine", "--format", "torch"], "--format torch. Give onnx;"),
        (["synth", "here", "--known", "all"], "--known all. Give nothing, intrinsics or cameras;"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert "Traceback" not in shown.err + shown.out
    assert not list(tmp_path.iterdir())


def test_a_misspelt_key_in_a_recipe_file_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("method: supervised\nimage_sise: 64\n")
    assert cli.main(["train", "mine.yaml"]) == 2
    assert "no key image_sise. Did you mean image_size?" in capsys.readouterr().err


def test_print_config_prints_a_recipe_that_reads_back(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "demo", "--stages.pose.train.steps", "7", "--print_config"]) == 0
    text = capsys.readouterr().out
    assert "steps: 7" in text
    (tmp_path / "again.yaml").write_text(text)
    assert cli.main(["train", "again.yaml", "--print_config"]) == 0
    assert capsys.readouterr().out == text


def test_a_verb_under_its_former_name_warns_in_one_line(capsys, tmp_path):
    assert cli.main(["adopt", str(tmp_path / "gone.pth"), "--out", str(tmp_path / "run")]) == 2
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first == "vergence adopt: the verb is now import-weights"
    assert second.startswith("vergence import-weights: ")


def test_help_of_a_verb_says_what_it_does(capsys):
    with pytest.raises(SystemExit):
        cli.main(["predict", "--help"])
    assert "3D poses" in capsys.readouterr().out


def test_hyphens_and_bare_switches_are_read():
    from vergence.commands.console.options import plain_options
    from vergence.commands.reconstruct import reconstruct

    words = ["footage", "--ignore-extrinsics", "--fov-fixed", "false", "--fov=60", "--out", "a-b"]
    expected = ["footage", "--ignore_extrinsics=true", "--fov_fixed", "false", "--fov=60", "--out", "a-b"]
    assert plain_options(reconstruct, words) == expected


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "lifting", "none.mp4", "--out", "/proc/none"],
        ["train", "capture", "--out=/proc/none"],
        ["reconstruct", "none", "--out", "/proc/none"],
        ["compare", "none.yaml", "--out", "/proc/none"],
    ],
)
def test_a_folder_that_cannot_be_written_to_is_told_before_the_work(words, capsys):
    assert cli.main(words) == 2
    assert "cannot write to /proc/none" in capsys.readouterr().err


def test_a_default_folder_is_tried_too(tmp_path, monkeypatch, capsys):
    (tmp_path / "learned").write_text("a file")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["learn", "--out", "learned/model", "--motion", "none"]) == 2
    assert "lies in a file" in capsys.readouterr().err
    assert cli.main(["inspect", "none"]) == 2
    assert "there is no" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["learned"]


def test_help_of_verbs_and_actions(capsys):
    for words in (["help"], ["help", "train"], ["help", "data", "check"]):
        with suppress(SystemExit):
            cli.main(words)
        assert f"usage: vergence {' '.join(words[1:])}" in capsys.readouterr().out


def test_the_overview_documents_exit_statuses(capsys):
    cli.main([])
    shown = capsys.readouterr().out
    assert all(f"{status}: " in shown for status in (0, 1, 2, 130))


@pytest.mark.parametrize(
    ("stop", "verb", "said"),
    [
        (KeyboardInterrupt, "train", "vergence train: stopped. The same command continues."),
        (KeyboardInterrupt, "synth", "vergence synth: stopped."),
    ],
)
def test_a_stopped_verb_says_so_and_ends_with_130(stop, verb, said, capsys, monkeypatch):
    def verb_is_stopped(*_):
        raise stop

    monkeypatch.setattr(cli, "run", verb_is_stopped)
    assert cli.main([verb]) == 130
    assert capsys.readouterr().err.strip() == said


@pytest.mark.parametrize(
    ("number", "verb", "said"),
    [
        (errno.ENOSPC, "demo", "vergence demo: a.csv could not be written: No space left on device. Free some space, or choose "
         "another folder. The same command continues."),
        (errno.EROFS, "synth", "vergence synth: a.csv could not be written: Read-only file system. Free some space, or choose "
         "another folder."),
    ],
)  # fmt: skip
def test_a_full_disk_is_one_sentence_wherever_it_strikes(number, verb, said, capsys, monkeypatch):
    def verb_writes(*_):
        raise OSError(number, os.strerror(number), "a.csv")

    monkeypatch.setattr(cli, "run", verb_writes)
    assert cli.main([verb]) == 2
    assert capsys.readouterr().err.strip() == said


def test_a_working_folder_that_is_gone_is_one_sentence(capsys, monkeypatch, tmp_path):
    def verb_asks(*_):
        (tmp_path / "gone").rmdir()
        Path("run").resolve()

    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    monkeypatch.setattr(cli, "run", verb_asks)
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "vergence train: the working folder is gone. Change to one that is there.\n"


def test_other_errors_of_the_system_are_not_hidden(monkeypatch):
    def verb_fails(*_):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(cli, "run", verb_fails)
    with pytest.raises(OSError, match="broken disk"):
        cli.main(["demo"])


def test_sigterm_stops_like_ctrl_c(capsys, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "run", lambda *_: signal.raise_signal(signal.SIGTERM))
    assert cli.main(["train"]) == 130
    assert "The same command continues" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("words", [["synth", "FILE"], ["train", "demo", "--out", "FILE"], ["learn", "x", "--out=FILE"]])
def test_a_file_is_no_folder_for_results(words, tmp_path, capsys):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    assert cli.main([word.replace("FILE", str(file)) for word in words]) == 2
    assert "notes.txt is a file" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_of_processes_started_together_the_first_speaks(capsys, monkeypatch, tmp_path):
    from vergence.commands.console.terminal import told

    for names, number in ((), None), (("RANK",), 0), (("RANK", "SLURM_PROCID"), 3), (("SLURM_PROCID",), 3):
        for name in ("RANK", "SLURM_PROCID"):
            monkeypatch.delenv(name, raising=False)
        for name in names:
            monkeypatch.setenv(name, str(number))
        assert cli.rank() == number
        with told(False, "training"):
            pass
        assert ("training" in capsys.readouterr().out) is (not number)
        with cli.owned(cli.function_of("demo"), {"out": tmp_path / "run"}):
            assert (tmp_path / "run").exists() is (number is None)  # held, of one process alone


FOREIGN = {"nodes", "ntasks-per-node", "force-reinstall", "no-python", "nproc-per-node"}  # of sbatch, pip, torchrun


def test_options_that_messages_name_are_options_as_the_help_spells_them():
    names = {name.replace("_", "-") for one in cli.functions().values() for name in inspect.signature(one).parameters}
    known = {"help", "version", "threads", *FOREIGN, *names}
    wrong = [
        f"{file.name}: --{name}"
        for file in Path(cli.__file__).parent.rglob("*.py")
        for name in re.findall(r"(?<![\w-])--([a-z]\w*+(?:-\w+)*+)(?![.-][\w{])", file.read_text())
        if name.partition("no-")[2] not in known and name not in known
    ]
    assert wrong == []


def test_verbs_that_take_long_say_so_before_they_load_anything(tmp_path):
    """Each by its own line, or by `told`; not where --quiet is given."""
    for verb, function in cli.functions().items():
        text = inspect.getsource(sys.modules[function.__module__])
        assert getattr(function, "takes", "") or "told(quiet, " in text or verb in ("completion", "doctor"), verb
    words = ["reconstruct", str(tmp_path), "--out", str(tmp_path / "out")]
    status, _, text = loaded_by(words)
    assert status == 2
    assert "vergence reconstruct: cameras and 3D poses take mostly 1 to 60 s" in text.splitlines()[0]
    assert "take mostly" not in loaded_by([*words, "--quiet"])[2]
    refused = ["reconstruct", str(tmp_path / "gone"), *words[2:]]
    assert "take mostly" not in loaded_by(refused)[2]


@pytest.mark.parametrize("words", [["reproduce"], ["reproduce", "epipolar_pose_h36m"]])
def test_the_list_of_tables_and_a_missing_root_are_told_without_libraries(words):
    status, heavy, text = loaded_by(words)
    assert (status, heavy - {"numpy", "rich"}) == (2 * (len(words) - 1), set())
    assert "ROOT/human36m, ROOT/mpii" in text


def test_threads_are_read_wherever_they_stand_and_the_last_counts():
    words = ["a", "--threads", "2", "--quiet", "--threads=1"]
    assert loaded_settled(words) == (["a", "--quiet"], "1")


def loaded_settled(words: list[str]) -> tuple[list[str], str]:
    """What `settled` leaves of the words in a new interpreter, and the number it sets."""
    code = f"import os; from vergence.cli import settled; print(settled({words!r}), os.environ['OMP_NUM_THREADS'], sep='|')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    left, _, number = done.stdout.strip().partition("|")
    return ast.literal_eval(left), number


@pytest.mark.parametrize(
    "words",
    [
        "evaluate --predictions gone --data .",
        "evaluate gone",
        "evaluate lifting --footage gone",
        "evaluate lifting --data gone",
        "compare gone",
        "reproduce gone",
        "predict gone",
        "predict lifting . --boxes gone",
        "export gone",
        "search . . --footage gone",
        "learn gone",
        "detect gone",
        "inspect gone",
        "import-weights gone --out new",
        "data check gone",
        "data prepare gone --out new",
        "train demo --data gone",
    ],
)
def test_what_is_not_there_is_told_before_any_library_is_loaded(words, tmp_path):
    status, heavy, text = loaded_by([word if word != "new" else str(tmp_path / "new") for word in words.split()])
    assert (status, heavy - {"numpy", "rich"}) == (2, set())
    assert re.search(r"(there is no|no) .*gone'?\. ", text), text


def test_a_line_of_yaml_that_cannot_be_read_is_numbered(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("method: supervised\nimage_size: 64\nseed: a: b\n")
    assert cli.main(["train", "mine.yaml"]) == 2
    assert "mine.yaml is not readable YAML: mapping values are not allowed here (line 3)" in capsys.readouterr().err
