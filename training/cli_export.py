"""The command that makes of a student what the monitor runs: `export`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli_parts import DryRun, digest, tell
from training.tables import RecipeError

if TYPE_CHECKING:
    from training.student_bundle import Planned


def export(
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="Folder that `distill` wrote, or a bundle.")],
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the bundle; another bundle in it is replaced.")
    ],
    textures: Annotated[
        Path | None, typer.Option("--textures", metavar="DIR", help="Statistics to put beside a finished bundle.")
    ] = None,
    probe: Annotated[Path | None, typer.Option("--probe", metavar="DIR", help="What `probe` wrote, its head.")] = None,
    verifier: Annotated[
        Path | None, typer.Option("--verifier", metavar="DIR", help="What `verifier` wrote, with --probe.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Their settings for streams, as `evaluate` chooses them."),
    ] = None,
    window: Annotated[
        float | None, typer.Option("--window", metavar="SECONDS", help="That the monitor shows it; else as trained.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="What `evaluate` wrote, for the model card.")
    ] = None,
    credit: Annotated[
        Path | None, typer.Option("--credits", metavar="FILE", help="Lists the sources of the data; goes with it.")
    ] = None,
    extra: Annotated[
        list[Path] | None,
        typer.Option("--extra", metavar="FILE", help="Goes with it; MODEL_CARD.md instead of the card it would have."),
    ] = None,
    weights: Annotated[bool, typer.Option(help="For the engine torch, and to train on: half of the bundle.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Write a bundle that the monitor runs, once ONNX Runtime says what torch says, with its model card."""
    from ssondo_stream.bundle import CARD_FILE, check_replaceable
    from training.model_card import CREDITS, model_card
    from training.student_bundle import further_files

    if (labels or verifier) and not probe:
        raise RecipeError("--labels and --verifier are of a head: name --probe too")
    named = [(path.name, path) for path in extra or ()]
    credited = [(CREDITS + credit.suffix, credit)] if credit else []
    files = further_files([*named, *credited])
    if textures:
        if probe or report or window is not None:
            raise RecipeError("--textures go beside a finished bundle, which has its head, its window and its figures")
        return _put_beside(student, textures, out, files, dry_run=dry_run)
    if report and CARD_FILE in files:
        raise RecipeError(f"--report is for the card that is written, and --extra has another {CARD_FILE}")
    plan = _planned(student, out, probe=probe, verifier=verifier, labels=labels, window=window, weights=weights)
    figures = _figures(probe, report)
    check_replaceable(out)
    if dry_run:
        return _tell(plan, out, {*files, CARD_FILE})
    made = plan.export(files)
    if CARD_FILE not in files:
        made = made.with_file(CARD_FILE, model_card(plan, made, figures, "".join(name for name, _ in credited)))
    made.save(out)
    typer.echo(f"{out}: {len(made.spec.labels)} labels, ONNX Runtime and torch differ by {made.difference:.1e}")
    return None


def _planned(
    student: Path,
    out: Path,
    *,
    probe: Path | None,
    verifier: Path | None,
    labels: Path | None,
    window: float | None,
    weights: bool,
) -> "Planned":
    from training.learner import STUDENT_FILE, load_learner
    from training.probe_head import HEAD_FILE, load_probe
    from training.student_bundle import plan_bundle, read_label_settings
    from training.verifier import VERIFIER_FILE, load_verifier

    used = {
        "student": student / STUDENT_FILE if student.is_dir() else student,
        "probe": probe and probe / HEAD_FILE,
        "verifier": verifier and verifier / VERIFIER_FILE,
        "labels": labels,
    }
    return plan_bundle(
        load_learner(student),
        out.absolute().name,
        probe=load_probe(probe) if probe else None,
        verifier=load_verifier(verifier) if verifier else None,
        labels=read_label_settings(labels) if labels else None,
        window_seconds=window,
        weights=weights,
        source={f"{name}_sha256": digest(path) for name, path in used.items() if path},
    )


def _figures(probe: Path | None, report: Path | None) -> dict[str, str]:
    """Tables for the card by what was measured."""
    from training.model_card import table_of
    from training.report import TABLE_FILE

    measured = table_of(report) if report else ""
    if report and not measured:
        raise RecipeError(f"{report}: expected {TABLE_FILE}, as `evaluate` writes it")
    tables = {
        "The head, on folds that it had not seen": table_of(probe) if probe else "",
        "As the monitor runs it, by `evaluate`": measured,
    }
    return {title: table for title, table in tables.items() if table}


def _tell(plan: "Planned", out: Path, further: set[str]) -> None:
    spec = plan.spec
    tell(
        {
            "labels": ", ".join(label.name for label in spec.labels) or "none",
            "parameters": sum(weights.numel() for weights in plan.student.parameters()),
            "embedding_dim": spec.embedding_dim,
            "window_frames": spec.window_frames,
            "window_seconds": round(spec.mel.samples_for(spec.window_frames) / spec.mel.sample_rate, 3),
            "files": ", ".join([*plan.files, *sorted(further)]),
            "replaces": f"the bundle in {out}" if out.exists() and any(out.iterdir()) else "nothing",
            "source": spec.source,
        }
    )


def _put_beside(bundle: Path, textures: Path, out: Path, files: dict[str, bytes], *, dry_run: bool) -> None:
    from ssondo_stream.bundle import CARD_FILE, check_replaceable, load_spec
    from ssondo_stream.students.export_computed import beside
    from training.model_card import with_statistics
    from training.teachers.textures import MEL, TEXTURES_FILE, load_textures

    standard = load_textures(textures)
    if (heard := load_spec(bundle).mel) != MEL:
        raise RecipeError(f"{bundle}: the statistics are of frames as {MEL}, this student hears {heard}")
    check_replaceable(out)
    count = standard.textures.count
    if dry_run:
        return tell({"statistics": count, "embedding_dim": load_spec(bundle).embedding_dim + count})
    used = digest(textures / TEXTURES_FILE if textures.is_dir() else textures)
    made = beside(bundle, standard, count, files, {"textures_sha256": used})
    if CARD_FILE not in files:
        before = made.files.get(CARD_FILE, b"").decode(errors="replace")
        made = made.with_file(CARD_FILE, with_statistics(before, made))
    made.save(out)
    typer.echo(f"{out}: {count} statistics added, ONNX Runtime and torch differ by {made.difference:.1e}")
    return None
