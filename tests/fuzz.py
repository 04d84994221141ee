# SPDX-License-Identifier: BSD-3-Clause
"""Feed damaged files to the readers of spectra: ``python -m tests.fuzz --minutes 5``.

Each case is a small file in one of the layouts with a few random damages. A child
process reads it under limits of time and memory. Good outcomes are a spectrum, and an
``OSError``, ``ValueError`` or ``TypeError`` that begins with the path. Everything else
is a finding: another exception, an end of the process, a file that takes too long or
too much memory, a result that contradicts itself, and other numbers than before where
only the sizes in a header were damaged. (Two layouts cannot tell that an image has more
columns than its data, which end in zeros.) A finding is reduced to as few damages as it
needs, and its file is kept. ``--seed S --cases 1`` repeats the case of seed S.
"""

import argparse
import collections
import gzip
import io
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
import traceback
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

ROOT = Path(__file__).parents[1]
# Limits for a file, of the processor's time, the clock and memory.
SECONDS, MOST_WAITED, GIBIBYTES = 10.0, 300.0, 2.0
BLOCK, CARD = 2880, 80
GRID = np.linspace(3900.0, 9000.0, 100)

# Images without wavelengths, whose rows begin at other values if NAXIS1 is larger.
UNAWARE = ("sdss-spspec", "lamost-log-image")
SIZES = re.compile(r"NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|TFORM\d+|BITPIX|GROUPS|THEAP")
NUMBERS = ["-1", "0", "1", "2", "3", "7", "999", "1000", "999999999", "-2880", "1.5"]
NUMBERS += ["1E400", "-1E400", "NaN", "T", "F", "''", "'text'", "", "1E-12", "-9999"]
NUMBERS += [str(2**31), str(2**63), str(-(2**63)), "9" * 60, "'\xb5'", "'" + "x" * 60]
NUMBERS += ["(1, 2)", "'10**99999999'", "'nm'", "'erg/s/cm2/Angstrom'", "1 / 0", "=="]
FORMS = ["E", "D", "J", "K", "1PE(9)", "QD", "X", "9999999A", "0E", "L", "M", "5E", "?"]


@cache
def originals() -> dict[str, bytes]:
    """Return small good files in all layouts."""
    sys.path.insert(0, str(ROOT / "tests/datasets"))
    import conftest

    files = {}
    flux, ivar = conftest._numbers()

    def keep(name: str, hdul: fits.HDUList) -> None:
        buffer = io.BytesIO()
        hdul.writeto(buffer)
        files[name] = buffer.getvalue()

    for name, make in conftest.MAKERS.items():
        keep(name, make(flux, ivar, {}))
    labels = {"objid": [5, 6, 7], "label": [0, 2, 1], "z": [0.1, 0.2, 0.3]}
    labels |= {"class": ["STAR", "QSO", ""], "member": [True, False, True]}
    table = fits.BinTableHDU(Table(labels), name="LABELS")
    table.columns["label"].null = 99
    matrix = fits.PrimaryHDU(np.stack([flux, 2 * flux, 3 * flux]))
    wavelength = fits.ImageHDU(conftest.LINEAR_WAVELENGTH, name="WAVELENGTH")
    keep("labeled-matrix", fits.HDUList([matrix, table, wavelength]))
    wide = np.arange(9000, dtype="f4").reshape(3, 3000)
    keep("competition", fits.HDUList([fits.PrimaryHDU(wide), table]))
    hdus = [fits.PrimaryHDU(header=fits.Header({"TELESCOP": "LAMOST"}))]
    for arm, start in (("B", 4950.0), ("R", 6300.0)):
        wave = start + np.arange(200.0)
        columns = {"FLUX": flux[:200], "IVAR": ivar[:200], "LOGLAM": np.log10(wave)}
        hdus.append(fits.BinTableHDU(Table(columns), name=f"COADD_{arm}"))
    keep("lamost-medium", fits.HDUList(hdus))
    return files


def cards(content: bytearray) -> list[int]:
    """Return where the cards of all headers begin."""
    return [
        position
        for position in range(0, len(content) - CARD, CARD)
        if re.match(rb"[A-Z][A-Z0-9_-]* *= ", content[position : position + 10])
    ]


def set_card(content: bytearray, position: int, value: str) -> None:
    key = bytes(content[position : position + 8])
    card = key + b"= " + value.rjust(20).encode("latin-1")
    content[position : position + CARD] = card.ljust(CARD)[:CARD]


def pick(content: bytearray, rng: random.Random, pattern: str | re.Pattern) -> int:
    """Choose a card whose keyword matches a pattern."""
    found = [
        position
        for position in cards(content)
        if re.fullmatch(pattern, content[position : position + 8].decode().strip())
    ]
    return rng.choice(found) if found else 0


def damage_size(content: bytearray, rng: random.Random) -> None:
    position = pick(content, rng, SIZES)
    key, old = content[position : position + 8], content[position + 10 : position + 30]
    value = rng.choice(FORMS if key.startswith(b"TFORM") else NUMBERS)
    if rng.random() < 0.5 and old.strip().isdigit():
        value = str(int(old) + rng.choice([-1, 1, -2, 5, 72, -100, 2880]))
    set_card(content, position, f"'{value}'" if key.startswith(b"TFORM") else value)


def damage_value(content: bytearray, rng: random.Random) -> None:
    set_card(content, pick(content, rng, ".*"), rng.choice(NUMBERS))


def damage_keyword(content: bytearray, rng: random.Random) -> None:
    first, second = (pick(content, rng, ".*") for _ in range(2))
    content[first : first + 8] = content[second : second + 8]


def remove_card(content: bytearray, rng: random.Random) -> None:
    position = pick(content, rng, ".*")
    content[position : position + CARD] = b" " * CARD


def add_card(content: bytearray, rng: random.Random) -> None:
    keys = ["TUNIT1", "TUNIT3", "TNULL1", "TSCAL1", "TZERO2", "TDIM1", "THEAP"]
    keys += ["BUNIT", "BSCALE", "BZERO", "BLANK", "ZIMAGE", "GROUPS", "LONGSTRN"]
    key = rng.choice(keys)
    position = pick(content, rng, ".*")
    content[position : position + 8] = key.encode().ljust(8)
    set_card(content, position, rng.choice(NUMBERS))


def flip_bytes(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 4, 60])):
        content[rng.randrange(len(content))] = rng.randrange(256)


def write_extremes(content: bytearray, rng: random.Random) -> None:
    values = [np.nan, np.inf, -np.inf, 3e38, 1e-40, -9999.0, 0.0]
    position = rng.randrange(0, len(content) - 4, 4)
    content[position : position + 4] = np.array(rng.choice(values), ">f4").tobytes()


def cut(content: bytearray, rng: random.Random) -> None:
    step = rng.choice([1, CARD, BLOCK])
    del content[rng.randrange(0, len(content), step) :]


def move_block(content: bytearray, rng: random.Random) -> None:
    source, target = (rng.randrange(0, len(content), BLOCK) for _ in range(2))
    block = rng.choice([content[source : source + BLOCK], bytes(BLOCK), b""])
    content[target : target + rng.choice([0, BLOCK])] = block


def splice(content: bytearray, rng: random.Random) -> None:
    other = rng.choice([*originals().values()])
    content[rng.randrange(0, len(content), BLOCK) :] = other[
        rng.randrange(0, len(other), BLOCK) :
    ]


def pack(content: bytearray, rng: random.Random) -> None:
    content[:] = gzip.compress(content, rng.choice([1, 9]), mtime=0)


DAMAGES = [
    damage_size,
    damage_size,
    damage_value,
    damage_keyword,
    remove_card,
    add_card,
]
DAMAGES += [flip_bytes, write_extremes, cut, move_block, splice, pack]
Case = tuple[str, list[tuple[int, int]]]


def make_case(seed: int) -> Case:
    """Choose a file and the damages, each by its number and a seed of its own."""
    rng = random.Random(seed)
    names = sorted(originals())
    n_damages = rng.choice([1, 1, 1, 2, 3, 6])
    damages = [
        (rng.randrange(len(DAMAGES)), rng.randrange(2**32)) for _ in range(n_damages)
    ]
    return rng.choice(names), damages


def build(case: Case) -> bytes:
    name, damages = case
    content = bytearray(originals()[name])
    for number, seed in damages:
        if len(content) > BLOCK or DAMAGES[number] is pack:
            # A damage may find nothing that it can change.
            try:
                DAMAGES[number](content, random.Random(seed))
            except (ValueError, IndexError, UnicodeDecodeError):
                continue
    return bytes(content)


def contradiction(spectrum: dict, many: bool) -> str:
    """Describe what is wrong with a result; empty if nothing is."""
    wavelength, flux = spectrum["wavelength"], spectrum["flux"]
    if flux.dtype != np.float32 or flux.ndim != 1 + many:
        return f"flux of shape {flux.shape} and type {flux.dtype}"
    if wavelength is not None:
        if wavelength.shape != flux.shape[-1:] or not (np.diff(wavelength) > 0).all():
            return "wavelengths do not fit"
        if not (wavelength.min() >= 100 and wavelength.max() <= 1e6):
            return "wavelengths out of range"
    if many:
        target = spectrum["target"]
        if len(spectrum["table"].colnames) and len(spectrum["table"]) != len(flux):
            return "table and flux differ in length"
        return "" if target is None or len(target) == len(flux) else "lost labels"
    ivar = np.ones_like(flux) if spectrum["ivar"] is None else spectrum["ivar"]
    bad = ~np.isfinite(flux) | ~np.isfinite(ivar) | ~(ivar > 0)
    if not np.array_equal(bad, spectrum["mask"]):
        return "the mask is wrong"
    numbers = [spectrum[name] for name in ("redshift", "ra", "dec", "snr")]
    return "infinite values" if np.isinf(numbers).any() else ""


def read(path: Path, name: str) -> dict:
    from skastro.datasets import read_spectra, read_spectrum

    if name in ("labeled-matrix", "competition"):
        return read_spectra(path, verbose=0)
    return read_spectrum(path)


def try_file(path: Path, name: str, only_sizes: bool) -> str:
    """Read a file; return the outcome, in which findings begin with "!"."""
    try:
        result = read(path, name)
    except (OSError, ValueError, TypeError) as error:
        known = re.match(r"(No spectrum was read. 1 of 1 files.*\n *)?", str(error))
        begins = str(error)[known.end() :].startswith(str(path))
        return type(error).__name__ if begins else f"! without the path: {error!r}"
    except BaseException as error:
        return f"! {type(error).__name__}: {traceback.format_exc(limit=-2)}"
    many = result["flux"].ndim == 2
    if problem := contradiction(result, many):
        return f"! {problem}"
    if only_sizes and not many:
        whole = path.with_name("whole.fits")
        whole.write_bytes(originals()[name])
        expected = read(whole, name)
        more = name in UNAWARE and result["flux"].size > expected["flux"].size
        if not more and not all(
            np.array_equal(result[key], expected[key], equal_nan=True)
            for key in ("flux", "ivar", "wavelength")
        ):
            return "! other numbers by another size"
    return "read"


def work(pipe, gibibytes: float) -> None:
    """Read the files that arrive, in a process of limited memory."""
    import resource

    import skastro.datasets.spectra  # noqa: F401

    originals()
    warnings.simplefilter("ignore")
    used = int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    limit = used * 1024 + int(gibibytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    pipe.send("ready")
    while True:
        pipe.send(try_file(*pipe.recv()))


class Worker:
    """A child process that is replaced when it ends or takes too long."""

    def __init__(self, gibibytes: float) -> None:
        self.gibibytes = gibibytes
        self.process = None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(
            target=work, args=(other, self.gibibytes), daemon=True
        )
        self.process.start()
        other.close()
        self.pipe.recv()

    def outcome(self, path: Path, case: Case) -> str:
        if self.process is None:
            self.start()
        content = build(case)
        path.write_bytes(content)
        # Another type of the same width is no size.
        forms = re.findall(rb"TFORM.{75}", content)
        sizes = all(DAMAGES[number] is damage_size for number, _ in case[1]) and (
            forms == re.findall(rb"TFORM.{75}", originals()[case[0]])
        )
        self.pipe.send((path, case[0], sizes))
        used, end = self.cpu_seconds(), time.monotonic() + MOST_WAITED
        try:
            # The clock alone would blame a file for a busy machine.
            while self.cpu_seconds() < used + SECONDS and time.monotonic() < end:
                if self.pipe.poll(1):
                    return self.pipe.recv()
            found = f"! more than {SECONDS:g} s, or no end"
        except EOFError:
            found = "! the process ended"
        self.stop()
        return found

    def cpu_seconds(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2]
        ticks = [int(field) for field in stat.split()[11:13]]
        return sum(ticks) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def shrink(worker: Worker, path: Path, case: Case) -> Case:
    """Leave out damages as long as there is still a finding."""
    name, damages = case
    for damage in list(damages):
        fewer = [other for other in damages if other != damage]
        if fewer and worker.outcome(path, (name, fewer)).startswith("!"):
            damages = fewer
    return name, damages


def run(minutes: float, n_cases: int, seed: int, keep: Path, gibibytes: float) -> int:
    """Run cases until the time or their number is reached; return the findings."""
    worker, end = Worker(gibibytes), time.monotonic() + 60 * minutes
    counts: collections.Counter[str] = collections.Counter()
    findings: collections.Counter[str] = collections.Counter()
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.fits"
        while number < n_cases and time.monotonic() < end:
            case = make_case(seed + number)
            outcome = worker.outcome(path, case)
            counts[outcome if outcome[0] != "!" else "finding"] += 1
            if outcome[0] == "!":
                kind = re.sub(r"[\d.]+", "#", outcome)
                findings[kind] += 1
                if findings[kind] == 1:
                    case = shrink(worker, path, case)
                    steps = [DAMAGES[index].__name__ for index, _ in case[1]]
                    print(
                        f"seed {seed + number}: {case[0]} {steps}\n  {outcome}",
                        flush=True,
                    )
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{seed + number}.fits").write_bytes(build(case))
            number += 1
        worker.stop()
    print(f"{number} cases, seeds {seed} to {seed + number - 1}: {dict(counts)}")
    for kind, count in findings.most_common():
        print(f"{count} times {kind.splitlines()[0][:200]}")
    return sum(findings.values())


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    parser.add_argument("--gibibytes", type=float, default=GIBIBYTES)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"))
    options = parser.parse_args()
    findings = run(
        options.minutes, options.cases, options.seed, options.keep, options.gibibytes
    )
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
