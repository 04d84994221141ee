# SPDX-License-Identifier: BSD-3-Clause
"""Simulation of a run with slow workers and failures, event by event.

A client keeps a bounded number of partitions at the scheduler, which gives the next to
whichever worker is free. The result of a partition stays on its worker until the
client, which takes one result after the other, has it in its journal. A worker that
dies loses the partition that it computes and the results that it still holds; they are
computed again. Where the client dies, the journal remains, and all that is in flight
is computed again.
"""

import heapq
from collections import deque
from dataclasses import dataclass
from itertools import count

import numpy as np


@dataclass(frozen=True)
class Cluster:
    """A run on a cluster.

    Parameters
    ----------
    n_workers, n_partitions : int
        Workers of one thread each, and partitions.
    seconds : float
        Mean work of a partition in seconds, on a worker of normal speed.
    spread : float, default=0.0
        Standard deviation of the logarithm of the work; the distribution is log-normal.
    slow_share : float, default=0.0
        Share of the workers that are slow for the whole run.
    slow_factor : float, default=3.0
        How many times as long they need.
    failures : float, default=0.0
        Failures of a worker in an hour of its life, at random times.
    restart : float, default=60.0
        Seconds until another worker has taken its place.
    client_failures : float, default=0.0
        Failures of the client in an hour.
    client_restart : float, default=600.0
        Seconds until somebody has started it again.
    fixed : float, default=0.0
        Seconds of a worker for each partition beside the work: to receive it, to open
        files, to send the result.
    overhead : float, default=0.0
        Seconds that client and scheduler need for each partition, one after the other.
    window : int, default=3
        Partitions at the scheduler, for each worker.
    """

    n_workers: int
    n_partitions: int
    seconds: float
    spread: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 3.0
    failures: float = 0.0
    restart: float = 60.0
    client_failures: float = 0.0
    client_restart: float = 600.0
    fixed: float = 0.0
    overhead: float = 0.0
    window: int = 3


@dataclass(frozen=True)
class Outcome:
    """What came out: seconds of the run, and seconds of workers by use.

    Attributes
    ----------
    makespan : float
        Seconds from the beginning until the last result is in the journal.
    efficiency : float
        Seconds that the same work takes without any loss, over `makespan`.
    lost : float
        Share of the computation that was thrown away.
    most_losses : int
        How often the unluckiest partition was lost.
    n_events : int
        Failures of workers and of the client.
    """

    makespan: float
    efficiency: float
    lost: float
    most_losses: int
    n_events: int


class _Worker:
    """A worker: its speed, what it computes, and the results that it holds."""

    def __init__(self, slowness: float) -> None:
        self.slowness = slowness
        self.is_up = True
        self.task: int | None = None
        self.began = 0.0
        self.held: dict[int, float] = {}
        # Counts tasks and losses, so that messages about what was lost are not heeded.
        self.turn = 0
        self.n_losses = 0


class _Run:
    """One simulated run."""

    def __init__(self, cluster: Cluster, random_state: int) -> None:
        self.cluster = cluster
        self.rng = np.random.default_rng(random_state)
        sigma = cluster.spread
        self.work = cluster.seconds * self.rng.lognormal(
            -(sigma**2) / 2, sigma, cluster.n_partitions
        )
        n_slow = round(cluster.slow_share * cluster.n_workers)
        self.workers = [
            _Worker(cluster.slow_factor if number < n_slow else 1.0)
            for number in range(cluster.n_workers)
        ]
        # Those that computed longest ago come first.
        self.idle = deque(self.workers)
        self.queue: deque[int] = deque()
        self.losses = np.zeros(cluster.n_partitions, int)
        self.n_submitted = self.n_done = self.n_events = 0
        self.computed = self.lost = 0.0
        self.client_is_up = True
        self.client_free = 0.0
        self.events: list[tuple] = []
        self.numbers = count()

    def push(self, when: float, event: str, *what: object) -> None:
        """Plan an event; those of the same time keep their order."""
        heapq.heappush(self.events, (when, next(self.numbers), event, what))

    def draw_failure(self, now: float, rate: float, event: str, *what: object) -> None:
        """Plan the next failure."""
        if rate:
            self.push(now + self.rng.exponential(3600 / rate), event, *what)

    def run(self) -> Outcome:
        """Go from event to event until the last result is kept."""
        cluster = self.cluster
        for worker in self.workers:
            self.draw_failure(0.0, cluster.failures, "worker_fails", worker)
        self.draw_failure(0.0, cluster.client_failures, "client_fails")
        self.fill(0.0)
        now = 0.0
        while self.n_done < cluster.n_partitions:
            now, _, event, what = heapq.heappop(self.events)
            getattr(self, event)(now, *what)
        capacity = sum(1 / worker.slowness for worker in self.workers)
        return Outcome(
            makespan=float(now),
            efficiency=float(self.work.sum() / capacity / now),
            lost=float(self.lost / (self.computed + self.lost)),
            most_losses=int(self.losses.max()),
            n_events=self.n_events,
        )

    def fill(self, now: float) -> None:
        """Submit partitions up to the window, and give them to idle workers."""
        ahead = self.cluster.window * self.cluster.n_workers
        while (
            self.client_is_up
            and self.n_submitted < self.cluster.n_partitions
            and self.n_submitted - self.n_done < ahead
        ):
            self.queue.append(self.n_submitted)
            self.n_submitted += 1
        while self.client_is_up and self.queue and self.idle:
            worker = self.idle.popleft()
            worker.task, worker.began = self.queue.popleft(), now
            worker.turn += 1
            seconds = (self.cluster.fixed + self.work[worker.task]) * worker.slowness
            self.push(now + seconds, "computed_one", worker, worker.turn)

    def computed_one(self, now: float, worker: _Worker, turn: int) -> None:
        """Hand a result to the client, which takes one after the other."""
        if turn != worker.turn:
            return
        task, worker.task = worker.task, None
        worker.held[task] = now - worker.began
        self.computed += now - worker.began
        self.client_free = max(now, self.client_free) + self.cluster.overhead
        self.push(self.client_free, "gathered", worker, task, worker.n_losses)
        self.idle.append(worker)
        self.fill(now)

    def gathered(self, now: float, worker: _Worker, task: int, n_losses: int) -> None:
        """Keep a result, unless it was lost on the way."""
        if n_losses == worker.n_losses:
            del worker.held[task]
            self.n_done += 1
            self.fill(now)

    def worker_fails(self, now: float, worker: _Worker) -> None:
        """Lose what a worker computes and holds; another one comes later."""
        self.n_events += 1
        self.drop(now, worker)
        if worker in self.idle:
            self.idle.remove(worker)
        worker.is_up = False
        self.push(now + self.cluster.restart, "worker_returns", worker)
        self.fill(now)

    def worker_returns(self, now: float, worker: _Worker) -> None:
        """Let the next worker take the place of one that failed."""
        worker.is_up = True
        self.idle.append(worker)
        self.draw_failure(now, self.cluster.failures, "worker_fails", worker)
        self.fill(now)

    def drop(self, now: float, worker: _Worker) -> None:
        """Put the partitions of a worker back to the front of the queue."""
        lost = [*worker.held]
        self.lost += sum(worker.held.values())
        self.computed -= sum(worker.held.values())
        worker.held.clear()
        worker.n_losses += 1
        if worker.task is not None:
            lost.append(worker.task)
            self.lost += now - worker.began
            worker.task = None
            worker.turn += 1
        self.losses[lost] += 1
        self.queue.extendleft(lost)

    def client_fails(self, now: float) -> None:
        """Lose all that is in flight; what is in the journal stays."""
        self.n_events += 1
        self.client_is_up = False
        for worker in self.workers:
            self.drop(now, worker)
        self.push(now + self.cluster.client_restart, "client_returns")

    def client_returns(self, now: float) -> None:
        """Go on with what is not in the journal."""
        self.client_is_up = True
        self.client_free = now
        self.idle = deque(worker for worker in self.workers if worker.is_up)
        self.draw_failure(now, self.cluster.client_failures, "client_fails")
        self.fill(now)


def simulate(cluster: Cluster, random_state: int = 0) -> Outcome:
    """Simulate one run.

    Parameters
    ----------
    cluster : Cluster
        The run.
    random_state : int, default=0
        Seed of the durations and of the failures.

    Returns
    -------
    outcome : Outcome
        How long it took, and what was lost.
    """
    return _Run(cluster, random_state).run()
