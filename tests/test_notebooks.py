"""The notebooks as files: valid, clean, and in step with the manifest. That they run is nbval's part (see conftest)."""

import re

import nbformat
import pytest

from labserve import places
from labserve.manifest import Chapter

from .conftest import WORKBOOK

EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u26ff\u2728\u2b50\u2705\u274c]")


@pytest.fixture(params=WORKBOOK.chapters, ids=lambda chapter: chapter.module)
def chapter(request: pytest.FixtureRequest) -> Chapter:
    return request.param


@pytest.fixture
def notebook(chapter: Chapter) -> nbformat.NotebookNode:
    return nbformat.read(places.NOTEBOOKS / chapter.notebook, as_version=4)


def prose(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_is_valid_and_of_format_4_5(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"


def test_cell_ids_are_names_and_unique(notebook: nbformat.NotebookNode) -> None:
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for id_ in ids:
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", id_), id_
        assert not re.fullmatch(r"[0-9a-f]{8}", id_), f"{id_} looks made by a machine: it would change"


def test_only_outputs_that_are_compared_are_kept(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert bool(cell.outputs) == (cell.execution_count is not None), cell.id
            assert all(output.output_type == "stream" and output.name == "stdout" for output in cell.outputs), cell.id


def test_every_exercise_has_its_heading_its_cell_and_its_check(
    chapter: Chapter, notebook: nbformat.NotebookNode
) -> None:
    sources = {cell.id: cell.source for cell in notebook.cells}
    for exercise in chapter.exercises:
        slug = exercise.id.replace(".", "-")
        worth = f"{exercise.points} point{'s' * (exercise.points > 1)}"
        heading = f"## {exercise.id} {exercise.title}\n*{worth}, about {exercise.minutes} minutes*"
        assert heading in prose(notebook), exercise.id
        assert sources[f"exercise-{slug}"].startswith(f"%%exercise {exercise.id}\n")
        assert sources[f"check-{slug}"].strip() == f'check("{exercise.id}")'


def test_ends_with_the_quiz_and_a_way_on(chapter: Chapter, notebook: nbformat.NotebookNode) -> None:
    assert any(cell.source.strip() == f"quiz({chapter.number})" for cell in notebook.cells)
    assert (places.QUIZZES / chapter.quiz).exists()


def test_pictures_exist_and_have_a_text_in_their_place(notebook: nbformat.NotebookNode) -> None:
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", prose(notebook)):
        assert len(alt) > 10, target
        assert (places.NOTEBOOKS / target).exists(), target


def test_links_to_other_chapters_lead_somewhere(notebook: nbformat.NotebookNode) -> None:
    for target in re.findall(r"\]\(([\w/.]+\.ipynb)\)", prose(notebook)):
        assert (places.NOTEBOOKS / target).exists(), target


def test_no_emoji_decorates_it(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        assert not EMOJI.search(cell.source), cell.id


def test_no_path_of_a_machine_is_in_it(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        assert not re.search(r"/(home|Users|work|root|tmp)/", str(cell)), cell.id
