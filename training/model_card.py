"""The card that goes with a bundle: what it hears and says, how it was made, how well it does, whose sounds it knows.

It tells what the files of the bundle and of the steps before it say, and where nothing is known it says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import nn

from ssondo_stream.bundle import Label, StudentSpec
from ssondo_stream.students.export import Exported
from training.recipe import Recipe
from training.report import TABLE_FILE
from training.student_bundle import RECIPE_FILE, Planned
from training.tables import RecipeError

CREDITS = "CREDITS"
_NO_FIGURES = """None were given. `ssondo-train evaluate` measures this bundle on recordings and clips; to have its
table here, export again with `--report` and the folder that it wrote."""
_NO_CREDIT = """No credits were given: whose recordings it was trained on, and under which terms, has to be found out
before it is passed on. Export again with `--credits` and a list of them."""
_HEADS_OWN = """Thresholds are the head's own, best for whole clips. `ssondo-train evaluate --choose-on` finds better
ones for streams."""
_GIVEN = "Thresholds and the rest are those that were given at the export."


def model_card(plan: Planned, made: Exported, figures: Mapping[str, str], credit: str = "") -> str:
    """The card in Markdown.

    Args:
        plan: of the bundle.
        made: the bundle itself.
        figures: tables by what was measured, see `table_of`.
        credit: name of the bundle's file that lists the sources; empty if there is none.
    """
    spec = made.spec
    parts = [
        f"# Model card: {spec.name}",
        _opening(spec),
        "## What it hears and says",
        _facts({**_hearing(spec), **_sizes(plan, made)}),
        *(
            ("## Labels", _labels(spec.labels), _GIVEN if "labels_sha256" in spec.source else _HEADS_OWN)
            if spec.labels
            else ()
        ),
        "## Recipe",
        _facts(_recipe(plan.recipe)),
        f"`{RECIPE_FILE}` has every value; `bundle.json` has the checksums of what the bundle was made of (`source`).",
        "## Figures",
        *(f"### {title}\n\n{table}" for title, table in figures.items()),
        *(() if figures else (_NO_FIGURES,)),
        "## Data and credit",
        f"`{credit}` lists the sources of what it was trained on." if credit else _NO_CREDIT,
        "## Before you rely on it",
        "Figures are of the recordings that they were measured on: expect others elsewhere. This is no safety device.",
    ]
    return "\n\n".join(parts) + "\n"


def table_of(folder: Path) -> str:
    """What a step reported, without its title; empty if it reported nothing.

    Raises:
        RecipeError: it cannot be read.
    """
    path = folder / TABLE_FILE
    try:
        return path.read_text(encoding="utf-8").partition("\n")[2].strip() if path.exists() else ""
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read as a report ({error})") from error


def with_statistics(card: str, made: Exported) -> str:
    """The card of a bundle that statistics were put beside."""
    spec = made.spec
    return f"""{card.rstrip() or f"# Model card: {spec.name}"}

## Statistics beside the embedding

Of the {spec.embedding_dim:,} dimensions of an embedding the last {spec.computed_dim:,} are computed of the window's
frames, not learnt, and no score depends on them. They were put beside the finished bundle, without torch's weights;
ONNX Runtime and torch differ by {made.difference:.1e} of the largest of them.
"""


def _opening(spec: StudentSpec) -> str:
    seconds = f"{spec.column / spec.mel.sample_rate:.3g} s"
    if not spec.labels:
        return f"A network that makes embeddings of a stream of sound, from columns of {seconds}; it has no labels."
    return f"A network that recognises {len(spec.labels)} sounds in a stream, a column of {seconds} at a time."


def _hearing(spec: StudentSpec) -> dict[str, str]:
    mel, computed = spec.mel, f", the last {spec.computed_dim:,} computed" if spec.computed_dim else ""
    says = f"a logit per column and label ({spec.activation}), and " if spec.labels else ""
    bands = f"{mel.n_mels} log-mel bands of {mel.f_min:,.0f} to {mel.f_max:,.0f} Hz"
    window = mel.samples_for(spec.window_frames) / mel.sample_rate
    return {
        "Input": f"{mel.sample_rate:,} Hz mono; {bands}, {mel.n_fft}-sample frames every {mel.hop} samples",
        "Window": f"up to {spec.window_frames} frames ({window:.3g} s), in columns of {spec.column_frames}",
        "Output": f"{says}an embedding of {spec.embedding_dim:,} dimensions{computed}",
    }


def _sizes(plan: Planned, made: Exported) -> dict[str, str]:
    verifier = f", {_parameters(plan.verifier)} of the verifier" if plan.verifier else ""
    size = (len(made.network) + sum(map(len, made.files.values()))) / 1e6
    weights = "with" if made.spec.architecture else "without"
    return {
        "Size": f"{_parameters(plan.student)} parameters of the network{verifier}",
        "Files": f"{size:.2f} MB, {weights} torch's weights",
        "Parity": f"ONNX Runtime and torch differ by {made.difference:.1e} of the largest output",
    }


def _parameters(network: nn.Module) -> str:
    return f"{sum(weights.numel() for weights in network.parameters()):,}"


def _labels(labels: Iterable[Label]) -> str:
    header = ("label", "threshold", "off", "early", "confirm", "bias", "shortest, s", "pauses bridged, s", "AudioSet")
    return _table(header, [_settings(label) for label in labels])


def _settings(label: Label) -> tuple[str, ...]:
    levels = (label.threshold, label.off, label.early, label.confirm, label.bias)
    durations = (label.min_duration_seconds, label.hold_seconds)
    return (label.name, *(f"{number:g}" for number in (*levels, *durations)), label.ontology_id)


def _recipe(recipe: Recipe) -> dict[str, str]:
    student, sampling = recipe.student, recipe.sampling
    options = ", ".join(f"{key}={value}" for key, value in student.options.items())
    balance = f", balance {sampling.balance:g}" if sampling.by == "clusters" else ""
    steps = f"{recipe.epochs} epochs, {recipe.steps:,} steps of {recipe.batch} in all"
    return {
        "Student": f"{student.architecture}{f' ({options})' if options else ''}",
        "Learns": _learns(recipe),
        "Sampling": f"{sampling.draws:,} draws an epoch, by {sampling.by}{balance}",
        "Training": f"{steps}; {recipe.seconds:g} s of each clip; {recipe.optimiser.name}; seed {recipe.seed}",
    }


def _learns(recipe: Recipe) -> str:
    each = "of each column" if recipe.columns else "of each clip"
    if recipe.teacher and recipe.loss:
        return f"what the teacher {recipe.teacher.name} says {each}; loss {recipe.loss.name}"
    return f"labels {each}; loss {recipe.labels.loss if recipe.labels else ''}"


def _facts(facts: Mapping[str, str]) -> str:
    return _table(("", ""), list(facts.items()))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in cells)
