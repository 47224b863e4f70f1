"""`sparsec tune` without a GPU: a made-up timer stands for it.  tests/interpreter/test_tune.py runs real kernels."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.generated import EXAMPLES

import sparsec.cli.tune
import sparsec.tuning.subject
from sparsec.cli import main
from sparsec.codegen import tuned_files
from sparsec.codegen.tuned import Place, Tuned
from sparsec.diagnostics import SparsecError
from sparsec.kernels.machine.settings import KERNELS, SETTINGS
from sparsec.tuning.candidates import candidates
from sparsec.tuning.journal import Journal, Trial
from sparsec.tuning.tune import ROUNDS, GpuLost, Limits, Outcome, tune

USUAL = (64, 64, 4, 2, None)
FASTER, FASTEST, SLOWER = (64, 64, 4, 3, None), (64, 32, 4, 2, None), (64, 64, 4, 1, None)
FORWARD, DQ = (Place("A GPU", "tma", "bf16", 128, kernel, "contiguous.alone.r1.s16") for kernel in ("forward", "dq"))
OTHER = replace(FORWARD, shape="contiguous.alone.r1.s64")


@dataclass
class Fake:
    """A pattern that takes as long as it is told to."""

    name: str = "p"
    digest: str = "d"
    places: Iterable[Place] = (FORWARD,)
    ms: dict = field(default_factory=dict)  # by setting; 1 for others
    refused: dict = field(default_factory=dict)
    stops: dict = field(default_factory=dict)  # exceptions that end the process, by setting
    turns: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    def kernels(self):
        return dict.fromkeys(self.places, USUAL)

    def refusal(self, place, setting):
        self.asked.append((place, setting))
        if setting in self.stops:
            raise self.stops[setting]
        return self.refused.get(setting)

    def turn(self, place, setting):
        self.turns.append(setting)
        return self.ms.get((place, setting), self.ms.get(setting, 1.0))


@dataclass
class Told:
    counts: dict = field(default_factory=dict)
    trials: list = field(default_factory=list)

    def start(self, name, count):
        self.counts[name] = count

    def advance(self, place, setting, trial):
        self.trials.append((place, setting, trial))


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "tuned.json.journal"


def run(path, *subjects, known=Tuned(), most=6, seconds=None, clock=lambda: 0.0, told=None) -> Outcome:  # noqa: B008
    openers = {(lambda each=each: each): {(p.kernel, p.shape) for p in each.places} for each in subjects}
    with Journal(path) as journal:
        outcome = tune(openers, journal, known, Limits(most, seconds), told or Told(), {"n": 8}, clock)
        if outcome.complete:
            journal.remove()
    return outcome


# ---------------------------------------------------------------- the choice


def test_the_best_is_chosen(path):
    outcome = run(path, Fake(ms={FASTER: 0.9, FASTEST: 0.8, SLOWER: 2.0}))
    assert outcome.better.settings == {FORWARD: FASTEST}
    assert outcome.better.measured == {FORWARD: {"n": 8, "ratio": 0.8, "on": ["p"]}}
    assert outcome.complete
    assert not path.exists()


def test_noise_is_no_gain(path):
    assert run(path, Fake(ms={FASTER: 0.985})) == Outcome(usual={FORWARD: USUAL})


@pytest.mark.parametrize("reason", ["it spills 4 registers", "its dq differs 9.0 times as much as it may"])
def test_what_is_refused_is_never_timed(path, reason):
    subject, told = Fake(ms={FASTER: 0.5}, refused={FASTER: reason}), Told()
    assert run(path, subject, told=told).usual == {FORWARD: USUAL}
    assert FASTER not in subject.turns
    assert (FORWARD, FASTER, Trial(skipped=reason)) in told.trials
    assert told.counts == {"p": len(told.trials)}


def test_turns_are_taken(path):
    subject = Fake(ms={SLOWER: 2.0})
    run(path, subject, most=2)
    slow, equal = subject.turns[:4], subject.turns[4:]
    assert slow == [USUAL, SLOWER] * 2  # given up
    assert equal == [USUAL, FASTER] * ROUNDS


def test_kernels_of_a_kind_are_decided_together(path):
    """A setting that is best for one pattern and bad for the other is not taken."""
    first = Fake(name="a", digest="a", ms={FASTER: 0.9, FASTEST: 0.6})
    second = Fake(name="b", digest="b", ms={FASTER: 0.9, FASTEST: 1.6}, places=(FORWARD, DQ))
    outcome = run(path, first, second)
    assert outcome.better.settings == {FORWARD: FASTER, DQ: FASTER}
    assert outcome.better.measured[FORWARD]["on"] == ["a", "b"]
    second.refused[FASTER] = "it spills"
    assert FORWARD in run(path, first, second).usual


def test_what_is_known_is_tried_again(path):
    known = (16, 256, 2, 7, 40)
    outcome = run(path, Fake(ms={known: 0.7}), known=Tuned({FORWARD: known}), most=1)
    assert outcome.better.settings == {FORWARD: known}


def test_merging():
    """Better settings come in, the usual one pushes others out, what was not measured stays."""
    settings = {FORWARD: SLOWER, DQ: SLOWER, OTHER: SLOWER}
    before = Tuned(settings, {place: {"n": 1} for place in settings})
    outcome = Outcome(Tuned({FORWARD: FASTEST}, {FORWARD: {"n": 8}}), {DQ: USUAL})
    after = Tuned({FORWARD: FASTEST, OTHER: SLOWER}, {FORWARD: {"n": 8}, OTHER: {"n": 1}})
    assert outcome.merged(before, Tuned()) == after
    over_the_packages = outcome.merged(before, Tuned({DQ: FASTER}))
    assert over_the_packages.settings[DQ] == USUAL
    assert DQ not in over_the_packages.measured


# ---------------------------------------------------------------- candidates


@pytest.mark.parametrize("usual", dict.fromkeys(setting for kinds in SETTINGS.values() for setting in kinds), ids=str)
def test_candidates(usual):
    found = candidates(usual, 99)
    assert len(found) == len(set(found)) > 5
    assert usual not in found
    assert candidates(usual, 5) == found[:5]
    place = replace(FORWARD, gpu="x")
    for setting in found:
        text = Tuned({place: setting}).rendered()
        assert tuned_files.parse(text.encode(), "t.json").settings == {place: setting}


# ---------------------------------------------------------------- the journal


def test_a_killed_run_goes_on(path):
    subject = Fake(ms={FASTEST: 0.8}, stops={FASTEST: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        run(path, subject)
    done = subject.asked[:-1]
    assert done
    again = Fake(ms={FASTEST: 0.8})
    assert run(path, again).better.settings == {FORWARD: FASTEST}
    assert again.asked[0] == (FORWARD, FASTEST)
    assert not set(again.asked) & set(done)


def test_what_ends_the_process_twice_is_passed_over(path):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(path, Fake(stops={FASTER: KeyboardInterrupt()}))
    subject, told = Fake(stops={FASTER: KeyboardInterrupt()}), Told()
    assert run(path, subject, told=told).complete
    assert (FORWARD, FASTER) not in subject.asked
    assert Trial(skipped="it ended the process twice") in [trial for _, _, trial in told.trials]


def test_a_lost_gpu_ends_it_and_is_remembered_at_once(path):
    with pytest.raises(SparsecError, match=r"SP0705.*a GPU that still answers"):
        run(path, Fake(stops={FASTER: GpuLost(FORWARD, FASTER)}))
    subject = Fake(ms={FASTEST: 0.5}, stops={FASTER: AssertionError()})
    assert run(path, subject).better.settings == {FORWARD: FASTEST}


def test_the_budget(path):
    """The time ends it after whole settings; kernels that are not through are not decided."""
    subject = Fake(places=(FORWARD, DQ), ms={FASTEST: 0.8})
    first = run(path, subject, seconds=10.0, clock=lambda: len(subject.asked) * 10 / 8)
    assert not first.complete
    assert first.better.settings == {FORWARD: FASTEST}  # 6 settings; dq had 2 of 6
    second = run(path, subject)
    assert second.better.settings == {FORWARD: FASTEST, DQ: FASTEST}
    assert len(subject.asked) == len(set(subject.asked)) == 12
    assert run(path, subject, seconds=0.0).better == Tuned()  # the journal was done with


def test_a_kernel_that_is_still_to_come_is_not_decided(path):
    first = Fake(digest="a", places=(FORWARD, OTHER), ms={FASTEST: 0.8})
    second = Fake(digest="b", places=(FORWARD,), ms={FASTEST: 0.8})
    outcome = run(path, first, second, seconds=12.0, clock=lambda: float(len(first.asked + second.asked)))
    assert outcome.better.settings == {OTHER: FASTEST}


def test_other_conditions_are_measured_anew(path):
    with pytest.raises(KeyboardInterrupt):
        run(path, Fake(stops={FASTEST: KeyboardInterrupt()}))
    subject = Fake(digest="another length")
    run(path, subject)
    assert len(subject.asked) == 6


def lines(path: Path) -> list[bytes]:
    with pytest.raises(KeyboardInterrupt):
        run(path, Fake(ms={FASTER: 0.7}, stops={FASTEST: KeyboardInterrupt()}))
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_line_that_was_cut_short(path, cut):
    whole = b"".join(lines(path)[:2])
    path.write_bytes(whole[:-cut])
    subject = Fake(ms={FASTER: 0.7})
    assert run(path, subject).better.settings == {FORWARD: FASTER}
    assert len(subject.asked) == (5 if cut == 1 else 6)  # without its end a result is lost
    path.write_bytes(whole[:-cut])
    with Journal(path) as journal:
        journal.end(("d", FORWARD, SLOWER), Trial(1.5, 1.0, 1.5))
    with Journal(path) as journal:
        assert journal.trials == {("d", FORWARD, SLOWER): Trial(1.5, 1.0, 1.5)}


@given(st.lists(st.binary(max_size=30), max_size=4), st.integers(0, 3), st.integers(0, 500))
def test_a_damaged_journal_costs_no_more_than_time(tmp_path_factory, junk, place, flipped):
    path = tmp_path_factory.mktemp("journal") / "j"
    found = lines(path)
    found[place:place] = junk
    data = bytearray(b"".join(found))
    data[flipped % len(data)] ^= 0x15
    path.write_bytes(data)
    outcome = run(path, Fake(ms={FASTER: 0.7}))
    assert outcome.complete
    for setting in outcome.better.settings.values():
        assert tuned_files.right(setting)


def test_values_that_no_tuning_writes(path):
    entry = {"of": "d", "place": vars_of(FORWARD), "setting": FASTER}
    bad = [{"ratio": value, "usual_ms": 1.0, "ms": 1.0, "skipped": ""} for value in (-1, 0, "x", None, float("nan"))]
    path.write_text("\n".join(json.dumps(entry | {"trial": trial}) for trial in [*bad, [], {"ratio": 1}]))
    with Journal(path) as journal:
        assert (journal.trials, journal.damaged) == ({}, 7)


def vars_of(place: Place) -> dict:
    return {name: getattr(place, name) for name in Place.__slots__}


def test_one_process_at_a_time(path):
    with Journal(path), pytest.raises(SparsecError, match="another `sparsec tune` writes to it"):
        Journal(path)
    with Journal(path):
        pass


def test_nowhere_to_write(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SparsecError, match="SP0702"):
        Journal(tmp_path / "file/journal")


# ---------------------------------------------------------------- the command


@pytest.fixture
def gpu(monkeypatch) -> dict[str, Fake]:
    """A GPU that is not there; the subjects by pattern."""
    subjects = {}

    def opener(made, setting, device):
        return lambda: subjects.setdefault(made.pattern.name, Fake(made.pattern.name, ms={FASTEST: 0.75}))

    monkeypatch.setattr(sparsec.cli.tune, "_gpu", lambda: None)
    monkeypatch.setattr(sparsec.tuning.subject, "opener", opener)
    return subjects


def command(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["sparsec", "tune", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return end.value.code or 0, said.out, said.err


MISTRAL = EXAMPLES / "mistral.spat"


def test_the_users_file(monkeypatch, capsys, tmp_path, gpu):
    path = tmp_path / "new/folder/tuned.json"
    monkeypatch.setenv("SPARSEC_TUNED", str(path))
    status, out, errors = command(monkeypatch, capsys, MISTRAL, EXAMPLES / "longformer.spat")
    assert (status, errors) == (0, "")
    assert set(gpu) == {"mistral", "longformer"}
    found = tuned_files.known()
    assert found.settings[FORWARD] == FASTEST
    assert found.measured[FORWARD] == {"n": 32768, "heads": 16, "kv_heads": 16, "ratio": 0.75, "on": [*gpu]}
    assert [each.name for each in path.parent.iterdir()] == ["tuned.json"]
    assert "0.750 of the usual time" in out
    assert len(out.splitlines()) == 2  # quiet in a pipe
    umask = 0o777 & ~path.stat().st_mode
    assert umask & 0o022 == 0o022, "others may not write to it"


def test_other_entries_stay(monkeypatch, capsys, tmp_path, gpu):
    path = tmp_path / "mine.json"
    path.write_text(Tuned({DQ: SLOWER}).rendered())
    command(monkeypatch, capsys, MISTRAL, "-o", path)
    assert tuned_files.stored(path).settings == {FORWARD: FASTEST, DQ: SLOWER}


def test_nothing_is_written_on_failure(monkeypatch, capsys, tmp_path, gpu):
    path = tmp_path / "tuned.json"
    path.write_text(before := Tuned({DQ: SLOWER}).rendered())
    gpu["mistral"] = Fake(ms={FASTER: 0.5}, stops={FASTEST: GpuLost(FORWARD, FASTEST)})
    status, _, errors = command(monkeypatch, capsys, MISTRAL, "-o", path)
    assert status == 1
    assert "SP0705" in errors
    assert "Traceback" not in errors
    assert path.read_text() == before
    gpu["mistral"] = Fake(ms={FASTER: 0.5})
    assert command(monkeypatch, capsys, MISTRAL, "-o", path)[0] == 0
    assert tuned_files.stored(path).settings == {FORWARD: FASTER, DQ: SLOWER}
    assert (FORWARD, FASTEST) not in gpu["mistral"].asked


def test_stopped_by_hand(monkeypatch, capsys, tmp_path, gpu):
    gpu["mistral"] = Fake(stops={FASTEST: KeyboardInterrupt()})
    status, _, errors = command(monkeypatch, capsys, MISTRAL, "-o", tmp_path / "tuned.json")
    assert (status, errors) == (130, "Stopped; nothing was written.  Run it again to go on.\n")
    assert [each.name for each in tmp_path.iterdir()] == ["tuned.json.journal"]


def test_one_slow_turn_changes_nothing(path):
    """Ratios are taken turn by turn: a machine that slows down for a while is not mistaken for a gain."""

    class Drifting(Fake):
        def turn(self, place, setting):
            self.turns.append(setting)
            return 50.0 if 6 < len(self.turns) <= 16 else 1.0

    assert run(path, Drifting(), most=1).usual == {FORWARD: USUAL}


def test_a_budget_leaves_a_journal(monkeypatch, capsys, tmp_path, gpu):
    path = tmp_path / "tuned.json"
    status, out, _ = command(monkeypatch, capsys, MISTRAL, "-o", path, "--gpu-budget", 0)
    assert status == 0
    assert "Run it again to go on." in out
    assert tuned_files.stored(path) == Tuned()
    assert path.with_name("tuned.json.journal").exists()


def test_a_broken_file_is_found_before_the_gpu_works(monkeypatch, capsys, tmp_path, gpu):
    (tmp_path / "tuned.json").write_text("{")
    status, _, errors = command(monkeypatch, capsys, MISTRAL, "-o", tmp_path / "tuned.json")
    assert status == 1
    assert "SP0706" in errors
    assert not gpu


def test_every_line(monkeypatch, capsys, tmp_path, gpu):
    gpu["mistral"] = Fake(refused={FASTER: "it spills 4 registers"})
    _, out, _ = command(monkeypatch, capsys, MISTRAL, "-o", tmp_path / "t.json", "--verbose", "--most", 3)
    assert "(64, 64, 4, 3, None): it spills 4 registers" in out
    assert "(64, 32, 4, 2, None): 1.000 ms, 1.000 of the usual time" in out


def test_a_bar_on_a_terminal(monkeypatch, capsys, tmp_path, gpu):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    status, out, errors = command(monkeypatch, capsys, MISTRAL, "-o", tmp_path / "t.json")
    assert status == 0, errors
    assert "mistral" in out
    assert "16/16" in out


def test_a_dry_run(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SPARSEC_TUNED", str(tmp_path / "tuned.json"))
    status, out, _ = command(monkeypatch, capsys, MISTRAL, "--dry-run", "--most", 2)
    assert status == 0
    rows = [line for line in out.splitlines() if " warps " in line]
    assert len(rows) == 9
    assert [line.split()[0] for line in rows[::3]] == list(KERNELS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [["--head-size", 20], ["--heads", 4, "--kv-heads", 3], ["--most", 0], ["--gpu-budget", -1], []]
)
def test_wrong_usage(monkeypatch, capsys, arguments):
    """The last: SPARSEC_TUNED is empty here, so there is no file to write to."""
    status, _, errors = command(monkeypatch, capsys, MISTRAL, *arguments)
    assert status == 2
    assert (arguments or ["--output"])[0] in errors or "--kv-heads" in errors


def test_without_a_gpu(monkeypatch, capsys, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    status, _, errors = command(monkeypatch, capsys, MISTRAL, "-o", tmp_path / "t.json")
    assert status == 1
    assert "error[SP0705]: `sparsec tune` needs a GPU" in errors
    assert not list(tmp_path.iterdir())
