"""The command ``sff-napari-train``."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from sff_napari.errors import Cancelled, InputError, SffError

if TYPE_CHECKING:
    from sff_napari.training import TrainingSettings

Trainer = Callable[..., dict[str, Path]]
_STAGES = ("interpolation", "unfolding", "fusion", "filling")


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog="Several GPUs: torchrun --nproc-per-node 4 -m sff_napari.commands.train DATA... -o DIR",
)
@click.argument("data", nargs=-1)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the run."
)
@click.option(
    "--validate",
    multiple=True,
    metavar="PATH[:SLICES]",
    help="Slices to validate on; their neighbours may lie just outside.  [default: the last "
    "--val-slices slices of each DATA, which are then not trained on]",
)
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["folds", "low-magnification", "scan"]),
    default="folds",
    help="What the networks are to restore.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.option(
    "--stages",
    default=",".join(_STAGES),
    help="Networks to train, separated by commas.",
)
@click.option("--before", default="", help="Folder with weights of the stages before the first.")
@click.option("--width", default=1.0, help="Width multiplier of the networks; 1 is the paper's.")
@click.option(
    "--scale",
    default=1,
    help="Reduce the slices the unfolding network works on: 1 (the paper's), 2, 4 or 8 times.",
)
@click.option("--iterations", default=400_000, help="Longest training of a stage.")
@click.option("--batch", default=32, help="Samples an iteration, over all GPUs.")
@click.option("--crop", default=256, help="Side of a sample, px.")
@click.option("--margin", default=144, help="How much wider the crop is that is folded, px.")
@click.option(
    "--rate",
    "rates",
    default="1e-4",
    metavar="RATE[,RATE...]",
    help="Learning rate at the start: one, or one for each of --stages.",
)
@click.option("--final-rate", default=1e-5, help="Learning rate at the end.")
@click.option("--power", default=1.5, help="Power of the decay of the learning rate.")
@click.option("--warm-up", default=0, help="Iterations over which a stage's learning rate rises.")
@click.option(
    "--easy-start",
    default=0,
    help="Iterations of unfolding over which the reference fades from the clean slice to the "
    "interpolated one; at a --scale above 1.",
)
@click.option(
    "--folds",
    default="straight",
    type=click.Choice(["straight", "realistic", "mixed"]),
    help="What damages the slices; the paper's are straight.",
)
@click.option(
    "--ranges",
    type=click.Path(path_type=Path),
    help="Draw realistic folds from the ranges in this file, as sff-napari analyse writes it.",
)
@click.option("--vary-texture", is_flag=True, help="Vary blur, noise and contrast of the slices.")
@click.option(
    "--true-flow-share",
    default=0.0,
    help="Share of fusion samples unfolded with the true flow.",
)
@click.option(
    "--texture",
    default=0.8,
    help="Share of the fine detail of tissue that the filling network is to show.",
)
@click.option("--neuropil", default=0, help="Synthetic slices to train on besides.")
@click.option(
    "--factors",
    default="8,8,8,4,4",
    help="By how much slices are reduced, each as often as it stands here; for low-magnification.",
)
@click.option("--seed", default=0, help="The same seed gives the same samples and start.")
@click.option("--validate-every", default=1000, help="Iterations between validations.")
@click.option("--save-every", default=200, help="Iterations between checkpoints.")
@click.option("--val-slices", default=3, help="Slices held out of each DATA without --validate.")
@click.option("--val-samples", default=64, help="Samples a validation.")
@click.option("--patience", default=20, help="Validations without a better score that end a stage.")
@click.option(
    "--max-minutes",
    type=float,
    default=None,
    help="Longest training in all, counted over resumed runs.",
)
@click.option(
    "--precision",
    default="auto",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Of the networks' arithmetic; auto: bfloat16 where it is fast.",
)
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--workers", default=0, help="Processes that prepare samples.")
@click.option("--threads", default=0, help="CPU threads; 0: as many as torch likes.")
@click.option("--data-note", default="", help="What the data are, for the model card.")
@click.option("--licence", default="", help="Terms of the data, for the model card.")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:
    """Train the networks on clean slices: for folds, for scans, or for low magnification.

    DATA is a TIFF, a folder of images or a zarr, optionally with the slices to
    use: stack.tif:0-15,20-29.  Folds, or scans, are simulated on the slices, or they are
    reduced.  With --resume, DATA and options not given are those of the run in the folder.

    For scans the --stages are scan, scan_plain12 or scan_cgrdn; of the other options only
    --validate, --width, --batch, --crop, --rate, --seed, --max-minutes, --device,
    --threads, --data-note and --licence count.
    """
    with stop_requests() as stop, _bar() as progress:
        _run(context, options, progress, stop)


def _run(
    context: click.Context,
    options: dict[str, Any],
    progress: Callable[[float, str], None],
    stop: Callable[[], bool],
) -> None:
    out: Path = options.pop("out")
    resume: bool = options.pop("resume")
    purpose: str = options.pop("purpose")
    given = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        and value != ()
    }
    settings, train = _TRAININGS[purpose](out, resume, options, given)
    made = train(
        settings, out, resume=resume, command=_command_line(), progress=progress, stop=stop
    )
    if os.environ.get("RANK", "0") == "0":
        for path in made.values():
            click.echo(path)


def _training_for_folds(
    out: Path, resume: bool, options: dict[str, Any], given: dict[str, Any]
) -> tuple[Any, Trainer]:
    # Heavy imports stay out of --help.
    from sff_napari.training import train

    if "factors" in given:
        raise InputError("--factors is for --for low-magnification.")
    return _settings(out, resume, options, given), train


def _training_for_low_magnification(
    out: Path, resume: bool, _options: dict[str, Any], given: dict[str, Any]
) -> tuple[Any, Trainer]:
    from sff_napari.training.enlarging.run import train
    from sff_napari.training.enlarging.settings import settings_from_options
    from sff_napari.training.records import RunFolder

    return settings_from_options(given, RunFolder(out).record() if resume else {}), train


def _training_for_scan(
    out: Path, resume: bool, _options: dict[str, Any], given: dict[str, Any]
) -> tuple[Any, Trainer]:
    from sff_napari.training.records import RunFolder
    from sff_napari.training.scan import settings_from_options, train_scan

    return settings_from_options(given, RunFolder(out).record() if resume else {}), train_scan


_TRAININGS = {
    "folds": _training_for_folds,
    "low-magnification": _training_for_low_magnification,
    "scan": _training_for_scan,
}
"""By what networks are for: settings from options, and what trains with them."""


def _settings(
    out: Path, resume: bool, options: dict[str, Any], given: dict[str, Any]
) -> TrainingSettings:
    from sff_napari.training import TrainingSettings
    from sff_napari.training.records import RunFolder

    values = options
    if resume:
        values = RunFolder(out).settings().to_dict() | given
    if isinstance(values.get("ranges"), Path):
        from sff_napari.simulation import ranges_to_dict, read_ranges

        # The values are stored, not the path: a run can go on without the file.
        values = values | {"ranges": ranges_to_dict(read_ranges(values["ranges"]))}
    if isinstance(values["stages"], str):
        names = [name.strip() for name in values["stages"].split(",")]
        values = values | {"stages": [name for name in names if name]}
    if isinstance(values["rates"], str):
        values = values | {"rates": _numbers(values["rates"])}
    return TrainingSettings.from_dict(values)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"The --rate {text!r} is not a number, or numbers with commas.") from error


def _command_line() -> str:
    """Return the command as typed, to be repeated."""
    return shlex.join(["sff-napari-train", *sys.argv[1:]])


@contextmanager
def _bar() -> Iterator[Callable[[float, str], None]]:
    """Yield a progress callback that draws a bar on stderr."""
    with tqdm(
        total=1.0,
        disable=os.environ.get("RANK", "0") != "0",
        bar_format="{percentage:3.0f}% |{bar}| {desc}[{elapsed}<{remaining}]",
        mininterval=0.5,
        miniters=0,
    ) as bar:
        stage = ""

        def progress(share: float, text: str) -> None:
            nonlocal stage
            name = text.partition(" ")[0]
            if name != stage:
                stage = name
                bar.reset(total=1.0)
            bar.set_description_str(text + " ", refresh=False)
            bar.update(share - bar.n)

        yield progress


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C was pressed or the system asked to end.

    A second Ctrl-C interrupts at once.
    """
    asked = False

    def _ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, _ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; errors are one sentence on stderr and exit code 2, Ctrl-C is 130."""
    try:
        command.main(args=arguments, prog_name="sff-napari-train", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except Cancelled as error:
        click.echo(str(error), err=True)
        sys.exit(130)
    except SffError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted; the last checkpoint is the one saved before.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
