# SPDX-License-Identifier: BSD-3-Clause
"""Commands and their options; what they do is in files that load torch when needed."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import click

_PATHS = click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True), metavar="FILES..."
)
_SOME_PATHS = click.argument(
    "files", nargs=-1, type=click.Path(exists=True), metavar="[FILES...]"
)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace what is there.")
_SIZE = click.option(
    "--size",
    type=click.IntRange(8),
    metavar="N",
    help="Resample image files to N x N pixels, as those of several sizes need.",
)
_DEVICE = "cpu, cuda, cuda:1 or mps.  [default: the fastest]"


class OneLineErrors(click.Group):
    """Commands whose errors are one line, unless the traceback is asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with warnings.catch_warnings():
                if not ctx.params["debug"]:
                    warnings.showwarning = _show  # type: ignore[assignment]
                return super().invoke(ctx)
        # Of click 8.2; before, there is no such error.
        except getattr(click.exceptions, "NoArgsIsHelpError", ()):
            raise
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "skastro"
            text = error.format_message()
            end = "" if text.endswith((".", "?")) else "."
            short = click.ClickException(f"{text}{end} See {path} --help.")
            short.exit_code = error.exit_code
            raise short from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            text = str(error) or type(error).__name__
            raise click.ClickException(text) from error


def _show(message: Warning | str, *_: Any) -> None:
    """Print a warning without the place in the code."""
    # There are no attributes here.
    text = str(message).replace("\nThe list is in the attribute failures.", "")
    click.echo(f"Warning: {text}", err=True)


@click.group(cls=OneLineErrors, context_settings={"show_default": True})
@click.version_option(package_name="skastro")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Neural networks for astronomy: look at files, train, and predict.

    More settings than these commands have are those of the estimators in Python.
    """


@main.command()
def info() -> None:
    """Show versions, devices and threads, for reports of faults."""
    from skastro.cli._info import describe_installation

    click.echo(describe_installation())


@main.command(short_help="Tell what files and folders hold.")
@_PATHS
@click.pass_context
def inspect(ctx: click.Context, files: tuple[str, ...]) -> None:
    """Tell what files and folders, with all below them, hold.

    Of spectra and images the layout, rows, wavelengths or size, classes, and what could
    not be read; of a model its card.
    """
    from skastro.cli._inspect import describe_file

    failed = False
    for file in files:
        try:
            click.echo(describe_file(file))
        except (ValueError, OSError) as error:
            if ctx.find_root().params["debug"]:
                raise
            click.echo(f"Error: {error}", err=True)
            failed = True
    ctx.exit(failed)


@main.group(short_help="Train a classifier on labeled files.")
def train() -> None:
    """Train a classifier on labeled files, and tell how it does on a quarter of them.

    The folder --out then holds the fitted model (model.skastro), its page
    (report.html), the predictions of the quarter (predictions.fits, results.csv) and
    the history (history.csv). Ctrl-C ends the training early; what was learned is kept.
    """


_SPECTRUM_RECIPES = (
    "resclass",
    "wang2020",
    "wang2020-densenet",
    "wang2020-dbn",
    "wang2020-mlp",
)
_GALAXY_RECIPES = ("resclass", "mlp")


def _recipe(names: Sequence[str]) -> Callable:
    return click.option(
        "--recipe", type=click.Choice(names), help="Settings of a published system."
    )


def _training_options(command: Callable) -> Callable:
    """Add the options that all trainings have."""
    options = [
        click.option(
            "--module",
            help="Network, such as resnet18.  [default: weights "
            "of the package to start from]",
        ),
        click.option(
            "--epochs", type=click.IntRange(1), help="Passes over the samples."
        ),
        click.option("--device", help=_DEVICE),
        click.option("--seed", default=0, help="Of split and training."),
        click.option("--quick", is_flag=True, help="Few samples and epochs: a trial."),
        click.option("--out", default="trained", type=click.Path(), help="Folder."),
        _OVERWRITE,
    ]
    for option in reversed(options):
        command = option(command)
    return command


@train.command(short_help="Classify spectra.")
@_SOME_PATHS
@_recipe(_SPECTRUM_RECIPES)
@click.option("--label-column", help="Column of the labels.  [default: class, label]")
@click.option(
    "--label-letters",
    type=click.IntRange(1),
    help="Classes are so many letters of the labels: 1 makes A5V an A.",
)
@click.option(
    "--simulate",
    "n_simulated",
    type=click.IntRange(100),
    metavar="N",
    help="Simulate so many spectra in place of files.",
)
@_training_options
def spectra(**options: Any) -> None:
    """Train a SpectrumClassifier on spectra in files or folders.

    Where wavelengths are known, and optical, it starts from weights of the package.
    """
    from skastro.cli._train import train_spectra

    train_spectra(**options)


@train.command(short_help="Classify galaxies in images.")
@_PATHS
@click.option(
    "--labels",
    type=click.Path(exists=True),
    help="Table of labels, for images in files of their own.",
)
@click.option("--id-column", help="Column of --labels with the names of the images.")
@click.option(
    "--label-column",
    help="Column of --labels, or data set of the HDF5 file, with the classes.  "
    "[default: class; ans]",
)
@_SIZE
@_recipe(_GALAXY_RECIPES)
@click.option(
    "--keep-apart",
    type=click.IntRange(1),
    metavar="N",
    help="Keep the first N images apart.  [default: a quarter]",
)
@_training_options
def galaxies(**options: Any) -> None:
    """Train a GalaxyClassifier on images: a file of HDF5, or a folder and a table.

    It starts from weights of the package.
    """
    from skastro.cli._train import train_galaxies

    train_galaxies(**options)


@main.command(short_help="Apply a saved model to files, and write a catalog.")
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@_PATHS
@click.option(
    "--out",
    default="catalog.fits",
    type=click.Path(),
    help="Catalog to write: .fits, .vot, .ecsv, .csv, .parquet or .h5.",
)
@_OVERWRITE
@_SIZE
@click.option("--device", help=_DEVICE)
def predict(model: str, files: tuple[str, ...], out: str, **options: Any) -> None:
    """Apply MODEL, a file of save_model, to spectra or images, and write a catalog.

    FILES are spectra or images, or folders of them with all below.
    """
    from skastro.cli._predict import predict_files

    catalog = predict_files(model, files, out, **options)
    click.echo(f"Wrote {len(catalog)} objects to {out}.")


@main.command(short_help="Measure electron shells in images.")
@_PATHS
@click.option("--n-shells", default=1, type=click.IntRange(1), help="Of each image.")
@click.option(
    "--polarization-axis",
    default="1",
    type=click.Choice(["0", "1"]),
    help="Axis of the images along which the electrons are polarized.",
)
@click.option(
    "--convention",
    default="density",
    type=click.Choice(["density", "vmi"]),
    help="Coefficients of 1/2 + ..., or of 1 + ...",
)
@click.option("--quick", is_flag=True, help="Images are round and upright.")
@click.option(
    "--out",
    default="shells.fits",
    type=click.Path(),
    help="Table to write: .fits, .vot, .ecsv, .csv, .parquet or .h5.",
)
@_OVERWRITE
def measure(files: tuple[str, ...], out: str, **options: Any) -> None:
    """Fit shells to images of slow-electron velocity-map imaging.

    FILES are HDF5 files, text, TIFF or arrays of numpy of counts, centered. The table
    has radius, width, number of electrons and coefficients of each shell, with error
    bars.
    """
    from skastro.cli._measure import measure_shells

    options["polarization_axis"] = int(options["polarization_axis"])
    table = measure_shells(files, out, **options)
    click.echo(f"Wrote {len(table)} shells to {out}.")


@main.group(short_help="Simulate data, in files.")
def simulate() -> None:
    """Simulate spectra, images of galaxies, or images of electrons."""


def _simulation_options(default: str) -> Callable:
    """Add the options that all simulations have, with a name for the file."""

    def add(command: Callable) -> Callable:
        for option in (
            _OVERWRITE,
            click.option("--out", default=default, type=click.Path(), help="File."),
            click.option("--seed", default=0, help="Of all that is drawn by chance."),
            click.argument("n", type=click.IntRange(1)),
        ):
            command = option(command)
        return command

    return add


@simulate.command("spectra", short_help="Stars, galaxies and quasars.")
@_simulation_options("spectra.fits")
def simulated_spectra(n: int, out: str, seed: int, overwrite: bool) -> None:
    """Simulate N spectra of stars, galaxies and quasars, in a FITS file."""
    from skastro.cli._output import check_output
    from skastro.cli._simulate import simulate_spectra

    check_output(out, overwrite, ".fits")
    simulate_spectra(n, out, seed)
    click.echo(f"Wrote {n} spectra to {out}.")


@simulate.command("galaxies", short_help="Images of galaxies; needs GalSim.")
@_simulation_options("galaxies.h5")
def simulated_galaxies(n: int, out: str, seed: int, overwrite: bool) -> None:
    """Simulate N images of galaxies with their parameters, in an HDF5 file."""
    from skastro.cli._output import check_output
    from skastro.cli._simulate import simulate_galaxies

    check_output(out, overwrite, ".h5")
    simulate_galaxies(n, out, seed)
    click.echo(f"Wrote {n} images to {out}.")


@simulate.command("shells", short_help="Images of photoelectrons.")
@_simulation_options("shells.h5")
@click.option("--n-shells", default=1, type=click.IntRange(1), help="Of each image.")
def simulated_shells(
    n: int, out: str, seed: int, n_shells: int, overwrite: bool
) -> None:
    """Simulate N images of electron shells, in an HDF5 file."""
    from skastro.cli._output import check_output
    from skastro.cli._simulate import simulate_shells

    check_output(out, overwrite, ".h5")
    simulate_shells(n, out, seed, n_shells)
    click.echo(f"Wrote {n} images to {out}.")


@main.command(short_help="Download Galaxy10.")
@click.argument("name", type=click.Choice(["galaxy10-sdss", "galaxy10-decals"]))
@click.option("--url", help="Another address of the same file.")
def fetch(name: str, url: str | None) -> None:
    """Download a data set once, and check it; prints where it is."""
    from skastro.datasets import fetch_galaxy10

    galaxies: Any = fetch_galaxy10(name.removeprefix("galaxy10-"), url=url, lazy=True)
    click.echo(galaxies.path)
