# SPDX-License-Identifier: BSD-3-Clause
"""Commands and their options; what they do is in files that load torch when needed."""

import warnings
from typing import Any

import click

_PATHS = click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True), metavar="FILES..."
)


class OneLineErrors(click.Group):
    """Commands whose errors are one line, unless the traceback is asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with warnings.catch_warnings():
                if not ctx.params["debug"]:
                    warnings.showwarning = _show  # type: ignore[assignment]
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            text = str(error) or type(error).__name__
            raise click.ClickException(text) from error


def _show(message: Warning | str, *_: Any) -> None:
    """Print a warning without the place in the code."""
    click.echo(f"Warning: {message}", err=True)


@click.group(cls=OneLineErrors, context_settings={"show_default": True})
@click.version_option(package_name="skastro")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Neural networks for astronomy: look at files, and predict with fitted models.

    Training is done in Python; the examples of the documentation are scripts for it.
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


@main.command(short_help="Apply a saved model to files, and write a catalog.")
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@_PATHS
@click.option(
    "--out",
    default="catalog.fits",
    type=click.Path(),
    help="Catalog to write: .fits, .vot, .ecsv, .csv, .parquet or .h5.",
)
@click.option("--device", help="cpu, cuda, cuda:1 or mps.  [default: the fastest]")
def predict(model: str, files: tuple[str, ...], out: str, device: str | None) -> None:
    """Apply MODEL, a file of save_model, to spectra or images, and write a catalog.

    FILES are spectra or images, or folders of them with all below.
    """
    from skastro.cli._predict import predict_files

    catalog = predict_files(model, files, out, device)
    click.echo(f"Wrote {len(catalog)} objects to {out}.")
