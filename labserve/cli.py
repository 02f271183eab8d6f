"""The command line. Nothing heavy is imported until the command that needs it runs."""

import io
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from labserve.errors import LabserveError

if TYPE_CHECKING:
    from labserve.manifest import Exercise
    from labserve.workspace import Workspace

app = typer.Typer(
    help="Build a production API around a model, chapter by chapter.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ExerciseId = Annotated[str, typer.Argument(metavar="EXERCISE", help='Such as "2.1"')]


def main() -> None:
    """Run a command; an expected mistake is one line on stderr and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console without a tick, such as a pipe on Windows, gets "?"
            stream.reconfigure(errors="replace")
    try:
        app()
    except LabserveError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


@app.command()
def lab(
    notebook: Annotated[
        str | None, typer.Argument(help="A notebook's file name; the next unfinished one if left out")
    ] = None,
    port: Annotated[int, typer.Option(help="Port for JupyterLab")] = 8888,
) -> None:
    """Open JupyterLab on the next unfinished notebook. It is your own copy."""
    from labserve import jupyter, workspace

    sys.exit(jupyter.open_lab(workspace.current(), notebook, port))


@app.command()
def serve(
    mine: Annotated[
        bool, typer.Option("--mine", help="Serve what you wrote; the reference where it does not pass")
    ] = False,
    model: Annotated[str | None, typer.Option(help="A model of the zoo; see `labserve models`")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on")] = 8000,
) -> None:
    """Start the service: the reference, or with --mine yours."""
    from labserve import launch

    launch.serve(mine=mine, model=model, host=host, port=port)


@app.command()
def check(exercise: ExerciseId) -> None:
    """Check an exercise as it is stored in your module."""
    from labserve import assembly, checking

    space, wanted = _exercise(exercise)
    assembly.work_on(space, space.workbook.chapter_of(wanted.id).module)
    report = checking.run(space, wanted)
    print("\n".join(report.lines()), flush=True)
    if report.late:  # at its end the process would wait for every thread that an answer has left
        os._exit(1)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def hint(exercise: ExerciseId) -> None:
    """Give the next hint."""
    from labserve import coaching

    print(coaching.hint(*_exercise(exercise)))


@app.command()
def solution(exercise: ExerciseId) -> None:
    """Show the reference answer and how yours differs. It takes a pass, or asking twice."""
    from labserve import coaching

    print(coaching.solution(*_exercise(exercise)))


@app.command()
def reset(exercise: ExerciseId) -> None:
    """Put the stub back. What your module and notebook had is kept."""
    from labserve.journal import Journal

    space, wanted = _exercise(exercise)
    backup = space.reset(wanted.id)
    Journal(space).record(wanted.id, "reset")
    print(f"{wanted.id} is the stub again; reload the notebook if it is open. What you had is in {backup}")


@app.command()
def progress() -> None:
    """Show where you stand."""
    from labserve import journal, workspace

    print("\n".join(journal.table(workspace.current())))


@app.command()
def quiz(chapter: Annotated[int, typer.Argument(help="The chapter's number")]) -> None:
    """Ask a chapter's quiz in the terminal and keep the score."""
    from labserve import places, quizzes, workspace
    from labserve.journal import Journal

    space = workspace.current()
    questions = quizzes.load(places.QUIZZES / space.workbook.chapter(chapter).quiz)
    score = quizzes.ask(questions, answer=input, say=print)
    if score.finished:
        Journal(space).record(f"quiz {chapter}", "quiz", f"{score.right}/{score.total}")
    print(
        f"\n{score.right} of {score.total} right" + ("." if score.finished else " so far. Only a whole round is kept.")
    )


@app.command()
def models(
    download: Annotated[str | None, typer.Option(metavar="NAME", help="Fetch the weights of this model")] = None,
) -> None:
    """List the models that can be served. Says whether their weights are here."""
    from rich.console import Console
    from rich.table import Table

    from labserve import zoo

    if download:
        zoo.download(download)
    table = Table("model", "parameters", "weights", "ImageNet top-1", "here")
    for spec in zoo.SPECS.values():
        table.add_row(
            spec.name,
            f"{spec.parameters / 1e6:.1f} M",
            f"{spec.weights_mb:.0f} MB",
            f"{spec.top1:.1%}",
            "yes" if zoo.on_disk(spec.name) else "no",
        )
    Console().print(table)
    print("To fetch the weights of one: labserve models --download NAME")


@app.command()
def doctor() -> None:
    """Look for what is in the way. Each line is something of this installation."""
    from labserve import diagnosis

    findings = diagnosis.findings()
    for finding in findings:
        print(finding)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def _exercise(exercise_id: str) -> "tuple[Workspace, Exercise]":
    from labserve import workspace

    space = workspace.current()
    return space, space.workbook.exercise(exercise_id)
