"""Errors of the training steps, by what the caller can do about them.

TrainingError
├── StorageError       nothing more can be written: make room, then run the step again
├── SettingsError      what is there was made with other settings: name another output, or the same settings
├── EmbeddingsError    stored embeddings are missing, damaged, or of another width
├── ManifestError      the list of audio cannot be used
├── AudioFileError     one file of it cannot be read
├── ExtractError       too much of the audio could not be read, or the teacher gave something else than it says
├── ClusterError       the rows cannot be clustered as asked
├── TeacherError       a teacher cannot be loaded or heard (in `teachers/errors`)
├── RecipeError        a recipe says something that cannot be (in `tables`)
├── DistillError       what distillation needs is missing or does not fit together (in `corpus`)
├── CheckpointError    a training checkpoint is damaged, or of another recipe (in `checkpoints`)
├── ProbeError         the rows cannot be probed as asked (in `probe_data`)
├── EvaluationError    the recordings cannot be evaluated as asked (in `evaluation`)
├── VerifierError      a verifier cannot be made or read (in `verifier`)
├── FiguresError       a table of the study's figures is none (in `study_figures`)
└── BudgetError        no thresholds keep the budget of false alarms (in `thresholds`)
"""


class TrainingError(Exception):
    """Base of every error that the steps raise on purpose; what was finished before it stays usable."""


class StorageError(TrainingError):
    """A file could not be written."""


class SettingsError(TrainingError):
    """An output folder was begun with other settings."""


class EmbeddingsError(TrainingError):
    """Embeddings are missing, damaged, not finite, or not of the stated width."""


class ManifestError(TrainingError):
    """A manifest is missing, malformed, or names what it may not."""


class AudioFileError(TrainingError):
    """A file holds no audio that could be read."""


class ExtractError(TrainingError):
    """The extraction cannot be finished."""


class ClusterError(TrainingError):
    """The clustering cannot be done."""
