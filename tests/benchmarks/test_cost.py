# SPDX-License-Identifier: BSD-3-Clause
"""The model of costs recovers what it is given, and the tables say what it is worth."""

import csv
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]


def made_up(module, name, n, size, epochs):
    """Costs that are powers of the size, as the model takes them to be."""
    n, size, epochs = int(n), int(size), int(epochs)
    epoch = n * 1e-6 * size**1.2
    again = n * 1e-7 * size**1.1
    return {
        "fit": 0.01 * size**0.5 + epochs * epoch,
        "epoch": epoch,
        "start": 0.01 * size**0.5,
        "first": again + 1e-3 * size**0.5,
        "again": again,
        "memory": 5e8,
    }


def test_tables_of_made_up_costs(tmp_path, monkeypatch, capsys):
    from benchmarks import cost

    monkeypatch.setattr(cost, "run_apart", lambda module, flag, *a: made_up(module, *a))
    names = ["SpectrumClassifier", "SEVIRegressor, two shells"]
    cost.main(["--csv", str(tmp_path), "--only", *names])
    tables = {}
    for name in ("cost.csv", "cost_check.csv"):
        with open(tmp_path / name, encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert all(len(row) == len(header) for row in rows)
        tables[name] = rows
    costs, checks = tables.values()
    assert [row[:2] for row in costs] == [
        *([names[0], size] for size in ("1000", "2000", "4000")),
        *([names[1], size] for size in ("256 x 256", "384 x 384")),
    ]
    # ms a sample in training and prediction, seconds, and megabytes.
    expected = [1e-3 * 2000**1.2, 1e-4 * 2000**1.1, 0.01 * 2000**0.5, 500]
    assert [float(x) for x in costs[1][2:6]] == pytest.approx(expected, rel=0.02)
    minutes = (0.01 * 2000**0.5 + 40 * 10_000 * 1e-6 * 2000**1.2) / 60
    assert float(costs[1][6]) == pytest.approx(minutes, rel=0.01)
    assert costs[3][2] == costs[3][4] == costs[3][6] == ""
    # Powers of the size are lines in logarithms: the forecast is exact.
    assert [row[0] for row in checks] == [names[0], names[0], names[1]]
    assert [row[3] for row in checks] == ["4", "prediction", "prediction"]
    assert {row[6] for row in checks} <= {"+0%", "-0%"}
    assert "| SpectrumClassifier | 500 | 3000 | 4 |" in capsys.readouterr().out


def test_measurement_of_one_run():
    from benchmarks.cost import measure

    found = measure("SpectrumRegressor", 24, 80, 3)
    assert found["fit"] > found["start"] + 2 * found["epoch"] > found["start"] > 0
    assert found["first"] > 0
    assert found["again"] > 0
    assert found["memory"] > 1e8


def test_tables_of_the_guide_are_those_of_the_script():
    from benchmarks.cost import CHECK, MODELS, TABLE

    for name in (TABLE, CHECK):
        text = (ROOT / "docs" / "user_guide" / name).read_text(encoding="utf-8")
        names = {row[0] for row in list(csv.reader(text.splitlines()))[1:]}
        assert names == set(MODELS)
