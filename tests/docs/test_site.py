"""What the pages of the documentation name is there; fast, without building the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def _pages() -> list[Path]:
    return [
        path
        for path in sorted(DOCS.rglob("*.md"))
        if not {"gallery", "generated"} & set(path.relative_to(ROOT).parts)
    ]


def test_every_page_is_in_the_navigation() -> None:
    listed = set()
    for page in _pages():
        for tree in re.findall(
            r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
        ):
            entries = [line for line in tree.splitlines() if line and not line.startswith(":")]
            names = [re.sub(r".*<(.*)>", r"\1", entry) for entry in entries]
            listed |= {(page.parent / f"{name}.md").resolve() for name in names}

    assert {page.resolve() for page in _pages()} - listed == {DOCS / "index.md"}


def test_links_between_files_lead_somewhere(any_page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", any_page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http", "#", "mailto:")) or "generated" in target:
            continue
        place = any_page.parent / target.split("#")[0]
        # The site makes the gallery.
        if "gallery" in target:
            continue
        assert place.exists(), f"{any_page.name} links to {target}"


def test_the_walk_names_files_that_exist() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    walk = text.split("## Where is ...")[1].split("\n## ")[0]
    walk = walk.split("All paths lie in")[0]
    named = re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)`", walk)

    assert len(named) > 20
    missing = [name for name in named if not (ROOT / "src/sff_napari" / name).exists()]
    assert not missing


def test_addresses_of_the_project_are_its_own() -> None:
    import tomllib

    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    home = settings["project"]["urls"]["Repository"]
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CITATION.cff",
        ".github/ISSUE_TEMPLATE/config.yml",
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        for address in re.findall(r"https://(?:raw\.githubusercontent|github)\.com/[\w./-]+", text):
            own = address.replace("raw.githubusercontent", "github").startswith(home)
            assert own or "/pre-commit/" in address, f"{name}: {address}"


@pytest.mark.parametrize("name", ["README.md"])
def test_pictures_and_links_work_away_from_the_repository(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")

    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    defined = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", text, re.MULTILINE))
    assert targets
    assert defined
    targets += defined.values()
    used = set(re.findall(r"(?:\]\[|(?<!\])\[)([^\]\[]+\.\w+|LICENSE)\](?!\(|\[|: )", text))
    assert used == set(defined)
    assert [target for target in targets if not target.startswith("https://")] == []
    for path in re.findall(r"https://[\w./-]+?/main/([\w./-]+)", text):
        assert (ROOT / path).exists(), path
