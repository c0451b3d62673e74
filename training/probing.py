"""The step `probe`: a head and its figures in a folder.

Heads are fitted in seconds or minutes, so a run that was killed fits them again, and leaves the same files.
"""

from dataclasses import asdict
from pathlib import Path

from training.files import locked, make_folder, remember
from training.probe import ProbeResult, ProbeSettings, probe
from training.probe_data import ProbeData
from training.probe_head import save_probe
from training.report import Evaluation, write_report
from training.skipping import SKIPPED_FILE, Skipping

SETTINGS_FILE = "settings.json"


def resolve_probing(settings: ProbeSettings) -> dict[str, object]:
    """What a probe depends on beside its data; its recipes differ in their strength."""
    recipe = asdict(settings.grid[0])
    del recipe["strength"]
    return {
        "task": settings.task,
        "tested": settings.tested,
        "seed": settings.seed,
        "resamples": settings.resamples,
        "strengths": [one.strength for one in settings.grid],
        **recipe,
    }


def probe_into(
    out: Path,
    data: ProbeData,
    settings: ProbeSettings,
    resolved: dict[str, object],
    skipping: Skipping,
    *,
    title: str = "Probe",
    progress: bool = True,
) -> ProbeResult:
    """Write `settings.json`, `skipped.csv`, the head and the report.

    Args:
        out: folder.
        data: see `probe.probe`.
        settings: how.
        resolved: what the output depends on.
        skipping: clips that were left out already.
        title: of the report.
        progress: whether a bar is shown.

    Raises:
        SettingsError: `out` was begun with something else.
        ProbeError: see `probe.probe`.
        StorageError: the disk is full, or another run is at work in `out`.
    """
    make_folder(out)
    with locked(out):
        remember(out / SETTINGS_FILE, resolved)
        result = probe(data, settings, progress=progress)
        skipping.write()
        save_probe(out, result.probe)
        write_report(out, Evaluation(title, result.figures, facts=_facts(data, result, skipping)))
    return result


def _facts(data: ProbeData, result: ProbeResult, skipping: Skipping) -> dict[str, str]:
    facts = {
        "clips": str(len(data)),
        "mean over folds": f"{result.mean:.4f}",
        "spread over folds": f"{result.spread:.4f}",
    }
    return {**facts, "skipped": f"{len(skipping.found)}, as {SKIPPED_FILE} says"} if skipping.found else facts
