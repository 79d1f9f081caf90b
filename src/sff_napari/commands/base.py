"""Share options, progress bars, and how errors are told among all commands."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from sff_napari.commands.error_log import remember_error
from sff_napari.errors import Cancelled, SffError
from sff_napari.progress import ProgressCallback

if TYPE_CHECKING:
    from sff_napari.stacks import Stack

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}
PATH = click.Path(path_type=Path)


def _named_weights(value: str) -> Path | None:
    """Return the weights that are meant: a path, or a set that comes with the package."""
    from sff_napari.networks.weights import named

    return named(value)


WEIGHTS = click.types.FuncParamType(_named_weights)
WEIGHTS.name = "path"

Command = TypeVar("Command", bound=Callable[..., Any])


class LazyGroup(click.Group):
    """A group whose commands are loaded from modules of their own when they are called.

    Parameters
    ----------
    commands_in : mapping of str to str
        Names of the commands, each the module `sff_napari.commands.NAME` (``_`` for ``-``)
        with a ``command``, and one sentence on what each does.
    """

    def __init__(
        self, *args: Any, commands_in: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._commands_in = dict(commands_in or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which they are used."""
        return list(self._commands_in)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loading its module."""
        if cmd_name not in self._commands_in:
            return None
        command: click.Command = import_module(
            f"sff_napari.commands.{cmd_name.replace('-', '_')}"
        ).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._commands_in.items()))


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit.

    Errors become one sentence on stderr and exit code 2, Ctrl-C exit code 130;
    what was being written is removed in both cases.

    Parameters
    ----------
    command : Command
        What to run.
    name : str
        What help and errors call it.
    arguments : sequence of str, optional
        Those of the process where not given.
    """
    # Threads that spin while they wait slow everything down several times as soon as another
    # program wants the same processors.  Read when torch is loaded, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with suppress(ValueError):  # not the main thread: nothing to catch there
        # A polite kill cleans up as Ctrl-C does.
        signal.signal(signal.SIGTERM, _end)
    try:
        code = command.main(args=arguments, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except Cancelled as error:
        _fail(str(error), 130)
    except SffError as error:
        remember_error(name, str(error))
        _fail(f"Error: {error}")
    except (KeyboardInterrupt, click.Abort):
        _fail("Interrupted; nothing was left half written.", 130)
    except BrokenPipeError:
        # Whoever read the output has had enough, e.g. `head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except MemoryError:
        _fail("Error: There is not enough memory: use a smaller --tile or a smaller slice.")
    except OSError as error:
        from sff_napari.io_atomic import explain

        if error.filename is None and error.errno is None:
            remember_error(name, traceback.format_exc())
            raise
        sentence = str(explain(error, error.filename or "A file"))
        remember_error(name, sentence)
        _fail(f"Error: {sentence}")
    except Exception:
        # A fault of the program: the traceback is shown, and kept for a report.
        remember_error(name, traceback.format_exc())
        raise
    # What `context.exit` was called with; commands themselves return nothing.
    sys.exit(code if isinstance(code, int) else 0)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _fail(sentence: str, code: int = 2) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(code)


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[ProgressCallback]:
    """Yield a progress callback that draws a bar on stderr once a second has passed."""
    from tqdm import tqdm

    with tqdm(
        total=1.0,
        delay=1.0,
        disable=True if quiet else None,  # None: only where stderr is a terminal
        bar_format="{percentage:3.0f}% |{bar}| {desc}[{elapsed}<{remaining}]",
        leave=False,
        miniters=0,
        file=sys.stderr,
    ) as bar:

        def progress(share: float, text: str) -> None:
            bar.set_description_str(f"{text} " if text else "", refresh=False)
            bar.update(max(0.0, share - bar.n))

        yield progress


def echo_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


class StackPlace(click.Path):
    """A path, or an address such as ``s3://bucket/volume.zarr``, which is kept as it is."""

    name = "stack"

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an address as text, everything else as a path."""
        from sff_napari.stacks.uris import is_address

        return value if is_address(value) else super().convert(value, param, ctx)


STACK = StackPlace()


def stack_argument(function: Command) -> Command:
    """Add the argument STACK, a path or an address, and what is chosen of it."""
    return axes_options(click.argument("stack", type=STACK)(function))


def axes_options(function: Command) -> Command:
    """Add ``--axis`` and ``--select``, which `open_named` looks at."""

    def keep(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        context.meta[f"sff_napari.{parameter.name}"] = value

    for name, metavar, words in (
        ("--select", "c=0,t=1", "Positions on further axes of STACK.  [default: 0]"),
        (
            "--axis",
            "LETTER",
            "Axis of STACK that counts the slices.  [default: z, or the long one]",
        ),
    ):
        function = click.option(
            name, metavar=metavar, expose_value=False, callback=keep, help=words
        )(function)
    return function


def chosen_axes() -> dict[str, int]:
    """Return what ``--axis`` and ``--select`` say; `open_stack` takes it."""
    from sff_napari.stacks.axes import parse_select

    context = click.get_current_context(silent=True)
    meta = {} if context is None else context.meta
    return parse_select(meta.get("sff_napari.select"), meta.get("sff_napari.axis"))


def open_named(place: Path | str) -> Stack:
    """Return the stack that a command names, with what is chosen of it; see `open_stack`."""
    from sff_napari.stacks import open_stack

    return open_stack(place, chosen_axes())


def slices_option(words: str) -> Callable[[Command], Command]:
    """Return a decorator that adds ``--slices``, with its help."""
    return click.option("--slices", metavar="3,7-9", default=None, help=words)


def device_option(function: Command) -> Command:
    """Add ``--device``."""
    return click.option(
        "--device", default="auto", help="Where to compute: auto, cpu, cuda, cuda:1 or mps."
    )(function)


def json_option(function: Command) -> Command:
    """Add ``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON for other programs on stdout."
    )(function)


def seed_option(function: Command) -> Command:
    """Add ``--seed``."""
    return click.option("--seed", default=0, help="The same seed gives the same folds.")(function)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of text, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "  ".join([first, *rest]).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, rows)])
