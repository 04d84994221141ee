# SPDX-License-Identifier: BSD-3-Clause
"""The model and the simulation of large runs agree with theory, and with each other."""

import math

import pytest

pytestmark = pytest.mark.once


@pytest.fixture
def simulate():
    from benchmarks.scaling.simulation import Cluster, simulate

    return lambda *args, seed=0, **settings: simulate(Cluster(*args, **settings), seed)


@pytest.mark.parametrize(("n_workers", "n_partitions"), [(1, 5), (7, 49), (7, 50)])
def test_equal_partitions_take_whole_turns(simulate, n_workers, n_partitions):
    run = simulate(n_workers, n_partitions, 10.0)
    assert run.makespan == pytest.approx(math.ceil(n_partitions / n_workers) * 10)
    assert run.lost == run.most_losses == run.n_events == 0
    ideal = n_partitions / n_workers * 10
    assert run.efficiency == pytest.approx(ideal / run.makespan)


def test_a_busy_client_sets_the_time(simulate):
    run = simulate(100, 2000, 1.0, overhead=0.05)
    assert run.makespan == pytest.approx(1 + 2000 * 0.05)


def test_a_window_of_one_leaves_workers_waiting_for_the_client(simulate):
    wide = simulate(10, 1000, 1.0, overhead=0.05, window=4)
    narrow = simulate(10, 1000, 1.0, overhead=0.05, window=1)
    assert wide.efficiency > 0.98
    # A result is kept 0.05 s to 0.5 s after its end; only then comes the next one.
    assert narrow.efficiency < 0.97


@pytest.mark.parametrize("seconds", [60.0, 600.0])
def test_failures_cost_what_theory_says(simulate, seconds):
    rate, restart = 1 / 3600, 60.0
    runs = [
        simulate(20, 4000, seconds, failures=1.0, restart=restart, seed=seed)
        for seed in range(3)
    ]
    # The mean time until a period without failures, begun anew after each.
    expected = (math.exp(rate * seconds) - 1) * (1 / rate + restart)
    for run in runs:
        assert run.makespan * 20 / 4000 == pytest.approx(expected, rel=0.04)
    lost = 1 - rate * seconds / (math.exp(rate * seconds) - 1)
    mean = sum(run.lost for run in runs) / 3
    assert mean == pytest.approx(lost, rel=0.15)
    assert max(run.most_losses for run in runs) >= 1


def test_the_journal_outlives_the_client(simulate):
    run = simulate(50, 5000, 60.0, client_failures=2.0, client_restart=300.0)
    assert run.n_events >= 2
    # Each failure loses at most what all workers compute at that time.
    assert 0 < run.lost <= run.n_events * 50 / 5000
    alone = simulate(50, 5000, 60.0)
    most = alone.makespan + run.n_events * (300 + 60) + 60
    assert alone.makespan + run.n_events * 300 <= run.makespan <= most


def test_slow_workers_get_fewer_partitions(simulate):
    settings = {"slow_share": 0.1, "slow_factor": 3.0}
    fine = simulate(100, 100 * 360, 10.0, **settings)
    assert fine.efficiency > 0.98
    coarse = simulate(100, 100, 3600.0, **settings)
    assert coarse.makespan == pytest.approx(3 * 3600)


def test_the_mean_work_does_not_depend_on_its_spread(simulate):
    run = simulate(10, 20_000, 5.0, spread=0.8)
    assert run.makespan == pytest.approx(20_000 * 5 / 10, rel=0.02)


def test_no_partition_is_much_better_than_that_of_theory():
    from benchmarks.scaling.study import Settings

    settings = Settings(fixed=0.5, overhead=0.0, n_seeds=2)
    best = settings.best_size(10.0)
    assert best == pytest.approx(math.sqrt(2 * 0.5 * 360))

    def efficiency(size):
        return settings.efficiency(
            20, round(20 * 7200 / size), seconds=size, failures=10.0
        )

    at_best = efficiency(best)
    assert at_best > efficiency(best / 8) + 0.05
    assert at_best > efficiency(best * 8) + 0.05


def test_model_and_simulation_agree(simulate):
    from benchmarks.scaling.model import Costs, Plan, forecast, most_workers

    costs = Costs(0.004, 0.001, 0.005, 5e4, 0.0, 0.002, write=0, start=0, begin=0)
    for n_workers, limit in ((100, "workers"), (10_000, "client")):
        n_partitions = 10 * n_workers
        plan = Plan(1000 * n_partitions, n_workers, 10.0, bandwidth=1e12)
        found = forecast(costs, plan)
        assert found.limit == limit
        run = simulate(n_workers, n_partitions, 10.0, spread=0.3, overhead=0.002)
        assert found.seconds == pytest.approx(run.makespan, rel=0.08)
        hours = found.seconds * n_workers / 3600
        assert found.worker_hours == pytest.approx(hours)
        assert found.dollars == pytest.approx(hours * plan.price)
    most = most_workers(costs, plan)
    assert most["client"] == 5000
    # Each worker reads 50 kB in 10 ms.
    assert most["file system"] == pytest.approx(1e12 / 5e6)
    slow = forecast(costs, Plan(1e6, 100, bandwidth=1e7))
    assert slow.limit == "file system"
    assert slow.seconds > 1e6 * 5e4 / 1e7


def test_the_model_from_the_command_line(capsys):
    from benchmarks.scaling.__main__ import main

    def table(*arguments):
        main(["model", *arguments])
        rows = capsys.readouterr().out.splitlines()
        return [[cell.strip() for cell in row.strip("| ").split("|")] for row in rows]

    given = ["--spectra", "1e7", "1e9", "--workers", "100", "--source", "lamost"]
    # The file system shall not set the time.
    given += ["--bandwidth", "1e6"]
    header, _, small, large = table(*given)
    hours = header.index("hours")
    assert float(large[hours]) == pytest.approx(100 * float(small[hours]), rel=0.06)
    dollars = header.index("dollars")
    _, _, *faster = table(*given, "--rate", "1e9", "--price", "0.08")
    assert float(faster[1][hours]) < float(large[hours])
    ratio = float(faster[1][dollars]) / float(faster[1][header.index("worker-hours")])
    assert ratio == pytest.approx(0.08, rel=0.01)
