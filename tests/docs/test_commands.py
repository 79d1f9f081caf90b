"""Every command of the documentation is run, or at least parsed by the real command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from sff_napari.commands import group, main
from sff_napari.commands.train import command as train

ROOT = Path(__file__).parents[2]
RUN = ("README.md", "docs/faq.md", "docs/how-to/own-data.md", "docs/index.md")
"""Pages whose commands are run as they stand, one after the other, on small stacks."""
ONLY_PARSED = {
    "README.md": (
        # Real stacks that do not come with the package.
        "evaluate vnc_stack1.tif",
        # A bucket; the other volumes are run.
        "info s3://",
        # Run by docs/index.md.
        "demo",
        # Worker processes take long to start: tests/volumes runs them.
        "detect volume.zarr",
        "restore volume.zarr",
        "verify corrected.zarr",
    ),
    "docs/faq.md": ("calibrate my_stack.tif",),
}
"""Commands of those pages that are only parsed, by how they begin.

The commands of all other pages are only parsed: they need real stacks, clusters or hours, or are
transcripts of runs on larger volumes, which ``tests/volumes`` and ``tests/commands`` make on
smaller ones.
"""
_OPERATORS = {"|", ";", "&&", "||", "&", ">", ">>"}


def _calls(line: str) -> Iterator[list[str]]:
    """Yield the calls of this package's programs in a line of shell, as words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&>")
    lexer.whitespace_split = True
    call: list[str] = []
    for word in [*lexer, ";"]:
        if word not in _OPERATORS:
            call.append(word)
            continue
        if call[:1] == ["srun"]:
            call = call[call.index("dask") :] if "dask" in call else []
        if call[:1] == ["torchrun"] or call[:2] == ["python", "-m"]:
            at = call.index("sff_napari.commands.train") if "torchrun" in call else -1
            call = ["sff-napari-train", *call[at + 1 :]] if at > 0 else []
        if call and call[0] in ("sff-napari", "sff-napari-train"):
            yield call
        call = []


def _is_synopsis(line: str) -> bool:
    """Tell whether a line says how a command is written rather than being one."""
    return bool(re.search(r"\[-|\[[A-Z]+\]|\||\.\.\.", line)) and "$" not in line


def _command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    if words[0] == "sff-napari-train":
        return train, words[1:]
    found = group.get_command(click.Context(group), words[1])
    assert found is not None, f"there is no command {words[1]}"
    return found, words[2:]


def _options(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def test_commands_are_accepted(command_page: Path, shell_of: list[tuple[int, str]]) -> None:
    for line, text in shell_of:
        if _is_synopsis(text):
            words = text.split()
            if words[0] in ("sff-napari", "sff-napari-train"):
                command, rest = _command_of(words)
                unknown = set(re.findall(r"--[a-z-]+", " ".join(rest))) - _options(command)
                assert not unknown, f"{command_page.name}, line {line}: {unknown}"
            continue
        for words in _calls(text):
            command, rest = _command_of(words)
            try:
                # The same parser as on the command line, types and callbacks too.
                command.make_context(words[1], rest)
            except click.ClickException as error:
                pytest.fail(f"{command_page.name}, line {line}: {text}\n{error.format_message()}")
            except click.exceptions.Exit:
                pass


def test_scripts_and_targets_exist(command_page: Path, shell_of: list[tuple[int, str]]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    for line, text in shell_of:
        where = f"{command_page.name}, line {line}: {text}"
        for script in re.findall(r"\bpython (\S+\.py)\b", text):
            assert (ROOT / script).is_file(), where
        if target := re.match(r"make ([a-z]+)", text):
            assert re.search(rf"^{target[1]}:", makefile, re.MULTILINE), where
        if environments := re.search(r"\btox (?:run )?-e ([\w,]+)", text):
            for one in environments[1].split(","):
                assert f"[testenv:{one}]" in tox or re.fullmatch(r"py(3\d\d)?", one), where


@pytest.mark.parametrize("page", RUN)
def test_commands_run(
    page: str,
    commands_of: Callable[[Path], list[tuple[int, str]]],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran = 0
    (folder / "STACK").symlink_to("my_slices")
    for line, text in commands_of(ROOT / page):
        for words in _calls(text):
            if " ".join(words[1:]).startswith(ONLY_PARSED.get(page, "-")):
                continue
            with pytest.raises(SystemExit) as ended:
                main(words[1:])
            told = capsys.readouterr()
            assert not ended.value.code, f"line {line}: {text}\n{told.err}"
            ran += 1
    assert ran, "nothing of this page was run"


def test_what_is_only_parsed_is_there() -> None:
    for page, beginnings in ONLY_PARSED.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        for beginning in beginnings:
            assert f"sff-napari {beginning}" in text, f"{page} has no `{beginning}`"


@pytest.mark.parametrize(
    "wrong",
    [
        "sff-napari detect stack.tif --no-such-option",
        "sff-napari restore stack.tif -o out.zarr",
        "sff-napari-train a.tif -o runs --batch many",
    ],
)
def test_a_wrong_command_is_noticed(wrong: str) -> None:
    (words,) = _calls(wrong)
    command, rest = _command_of(words)

    with pytest.raises(click.ClickException):
        command.make_context(words[1], rest)


def test_every_command_has_a_section() -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## sff-napari (.+)$", page, re.MULTILINE)
    described = {name for heading in headings for name in heading.split(", ")}

    assert described == set(group.list_commands(click.Context(group)))
