# SPDX-License-Identifier: BSD-3-Clause
"""A run within a budget cuts rounds, rows and parts in this order, and says so."""

import json
from functools import partial

import pytest

pytestmark = pytest.mark.once


class Clock:
    """A clock that only work moves."""

    now = 100.0

    def __call__(self):
        return self.now

    def work(self, rows, rounds, cost=1.0, fixed=0.0):
        self.now += fixed + cost * rows * rounds
        return {"rate": 1 / cost}


def measure(budget, *settings):
    from benchmarks.budget import Part, spend

    clock = Clock()
    parts = [
        Part(f"part {i}", partial(clock.work, cost=cost), 100, 10, weight=weight)
        for i, (cost, weight) in enumerate(settings)
    ]
    return spend(parts, budget, clock), clock.now - 100


@pytest.mark.parametrize(
    ("budget", "rows", "rounds", "cut"),
    [
        (320, 100, 3, None),
        (220, 100, 2, "2 of 3 rounds"),
        (120, 100, 1, "1 of 3 rounds"),
        (70, 50, 1, "1 of 3 rounds, 50 of 100 rows"),
        (15, 10, 1, "1 of 3 rounds, 10 of 100 rows"),
    ],
)
def test_rounds_are_cut_before_rows(budget, rows, rounds, cut):
    (result,), spent = measure(budget, (1, 1))
    assert (result["rows"], result["rounds"], result["cut"]) == (rows, rounds, cut)
    assert spent <= budget
    assert result["seconds"] == spent
    assert result["figures"] == {"rate": 1}


def test_time_is_shared_and_what_is_left_goes_on():
    # The first part leaves most of its share to the others.
    results, spent = measure(500, (0.1, 3), (1, 1), (1, 1))
    assert [result["cut"] for result in results[:2]] == [None, "2 of 3 rounds"]
    assert [result["rows"] for result in results] == [100, 100, 100]
    assert spent <= 500


def test_last_parts_are_not_run():
    results, _ = measure(15, (1, 1), (1, 1), (1, 1))
    assert [result["cut"] for result in results] == [
        "1 of 3 rounds, 10 of 100 rows",
        "1 of 3 rounds, 10 of 100 rows",
        "not run",
    ]
    assert results[2]["figures"] == {}


def test_part_that_needs_long_is_not_begun():
    from benchmarks.budget import Part, spend

    clock = Clock()
    parts = [
        Part("long", clock.work, 10, 10, least_seconds=60),
        Part("short", clock.work, 10, 10),
    ]
    long, short = spend(parts, 50, clock)
    assert (long["cut"], short["cut"]) == ("not run", None)


def test_errors_are_recorded_and_the_others_go_on():
    from benchmarks.budget import Part, spend, tables

    clock = Clock()

    def fail(rows, rounds):
        if rows == 10:
            return clock.work(rows, rounds)
        raise MemoryError("too | large")

    calls = []
    parts = [Part("fails", fail, 100, 10), Part("works", clock.work, 100, 10)]
    results = spend(parts, 1e4, clock, lambda r, spent: calls.append(len(r)))
    assert results[0]["error"].startswith("MemoryError: too | large (test_budget.py")
    # Those of the rows that did fit.
    assert (results[0]["figures"], results[0]["rows"]) == ({"rate": 1}, 10)
    assert (results[1]["error"], results[1]["rows"]) == (None, 100)
    assert calls == [2, 2, 2]
    figures, how = tables(results)
    assert figures[2:] == ["| fails | rate | 1 |", "| works | rate | 1 |"]
    assert "MemoryError: too / large" in how[2]


def test_parts_of_a_device_run(tmp_path, monkeypatch, capsys):
    from benchmarks import __main__ as benchmarks
    from benchmarks import budget, device_parts

    test = tmp_path / "test_one.py"
    test.write_text(
        "import pytest\n\n\n@pytest.mark.gpu\ndef test_one(): ...\n\n\n"
        "def test_another(): ...\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(device_parts, "TESTS", test)
    spend = partial(budget.spend, clock=Clock())
    monkeypatch.setattr(budget, "spend", spend)
    fast = ("tests", "tiny-64", "sevi, simulation", "sevi, network")
    made = device_parts.make_parts("cpu", 600, quick=True)
    chosen = [part for part in made if part.name in fast]
    images, memory = (
        part
        for part in made
        if part.name in ("vae, images of 256 x 256", "tiny-64, parts of fit")
    )
    chosen += [
        budget.Part("vae", lambda rows, rounds: images.run(2, 1)),
        memory,
        budget.Part("broken", lambda rows, rounds: {}["nothing"]),
    ]
    monkeypatch.setattr(benchmarks, "make_parts", lambda *_: chosen)
    path, results = tmp_path / "found.json", tmp_path / "RESULTS.md"
    arguments = ["--budget", "600", "--quick", "--write", "--json", str(path)]
    with pytest.raises(SystemExit):
        benchmarks.main([*arguments, "--device", "cpu", "--results", str(results)])
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["budget"] == 600
    assert found["device"] == "cpu"
    assert list(found["errors"]) == ["broken"]
    assert found["cut"] == {}
    names = [part["name"] for part in found["parts"]]
    assert names == [part.name for part in chosen]
    figures = {part["name"]: part["figures"] for part in found["parts"]}
    assert figures["tests"].get("passed", figures["tests"].get("skipped")) == 1
    assert figures["tiny-64"]["training (c) skastro, samples/s"] > 0
    assert figures["sevi, simulation"]["2 shell(s), images/s"] > 0
    assert figures["vae"]["prediction, samples/s"] > 0
    shares = figures["tiny-64, parts of fit"].values()
    assert sum(shares) == pytest.approx(1)
    text = results.read_text(encoding="utf-8")
    assert "All that fits" in capsys.readouterr().out
    assert "| broken |  |  | 0.0 |  | KeyError: 'nothing'" in text
    assert "| sevi, network | 1 shell(s), images/s |" in text


def test_all_networks_have_their_parts():
    from benchmarks.cases import CASES
    from benchmarks.device_parts import make_parts

    for device in ("cpu", "cuda"):
        parts = make_parts(device, 480, quick=False)
        names = [part.name for part in parts]
        assert len(set(names)) == len(names)
        assert set(CASES) < set(names)
        assert all(part.rows >= part.least_rows for part in parts)
