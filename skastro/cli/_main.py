# SPDX-License-Identifier: BSD-3-Clause
"""Commands and their options; what they do is in files that load torch when needed."""

import click

_PATHS = click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True), metavar="FILES..."
)


class OneLineErrors(click.Group):
    """Commands whose errors are one line, unless the traceback is asked for."""

    def invoke(self, ctx: click.Context) -> None:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            text = str(error) or type(error).__name__
            raise click.ClickException(text) from error


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


@main.command()
@_PATHS
def inspect(files: tuple[str, ...]) -> None:
    """Tell what files or folders are: layout, rows, grid, classes, problems."""
    from skastro.cli._inspect import describe_file

    for file in files:
        click.echo(describe_file(file))


@main.command()
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
    """Apply MODEL, a file of save_model, to spectra or images, and write a catalog."""
    from skastro.cli._predict import predict_files

    catalog = predict_files(model, files, out, device)
    click.echo(f"Wrote {len(catalog)} objects to {out}.")
