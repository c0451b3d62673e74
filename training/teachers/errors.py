"""What is wrong with a teacher, for whoever named it or its file."""

from training.errors import TrainingError


class TeacherError(TrainingError):
    """A teacher is unknown, or its file is missing, unsafe, damaged, incomplete, or of another network."""
