"""What makes an event: the settings of detection, for all labels and for single ones."""

from typing import Annotated

from pydantic import Field, field_validator

from monitor.config_sources import Seconds, Section
from ssondo_stream.bundle import slugify

Score = Annotated[float, Field(ge=0, le=1)]


class LabelSettings(Section):
    """Detection settings of one label; what is not set comes from `[detection]`, then from the bundle."""

    enabled: bool = Field(default=True, description="Whether the label is watched for.")
    threshold: Score | None = Field(default=None, description="As in `[detection]`.")
    off: Score | None = Field(default=None, description="As in `[detection]`.")
    early: Score | None = Field(default=None, description="As in `[detection]`.")
    confirm: Score | None = Field(default=None, description="As in `[detection]`.")
    min_duration_seconds: Seconds | None = Field(default=None, description="As in `[detection]`.")
    hold_seconds: Seconds | None = Field(default=None, description="As in `[detection]`.")
    cool_down_seconds: Seconds | None = Field(default=None, description="As in `[detection]`.")
    smooth_columns: int | None = Field(default=None, ge=1, le=20, description="As in `[detection]`.")
    gate_dbfs: float | None = Field(default=None, ge=-200, le=0, description="As in `[detection]`.")


class DetectionSettings(Section):
    """Detection settings of every label; `off` <= `threshold` <= `early` must hold for each."""

    threshold: Score | None = Field(default=None, description="An event needs this score. Default: the bundle's.")
    off: Score | None = Field(
        default=None, description="It lasts while scores stay above this one. Default: the bundle's."
    )
    early: Score | None = Field(
        default=None, description="A start is announced on early evidence above this score. Default: the bundle's."
    )
    confirm: Score | None = Field(
        default=None,
        description="An event must be so certain, by its scores and the bundle's verifier together; 0 leaves it to the "
        "scores, as does a bundle without a verifier. Default: the bundle's.",
    )
    min_duration_seconds: Seconds | None = Field(
        default=None, description="Shorter events are dropped. Default: the bundle's."
    )
    hold_seconds: Seconds | None = Field(default=None, description="Shorter pauses are bridged. Default: the bundle's.")
    cool_down_seconds: Seconds = Field(
        default=0.0, description="After an event, none of the same label for so many seconds."
    )
    smooth_columns: int = Field(
        default=1, ge=1, le=20, description="Scores are averaged over so many columns before anything else."
    )
    gate_dbfs: float | None = Field(
        default=None,
        ge=-200,
        le=0,
        description="Below this level, in dB of full scale, nothing counts. Default: no gate.",
    )
    early_windows: int = Field(
        default=1, ge=1, le=20, description="Early evidence must hold in so many successive windows."
    )
    settle_seconds: float = Field(
        default=10.0,
        gt=0,
        le=60,
        description="Seconds until an event's scores are final: up to the window, 10 s, more is more accurate.",
    )
    labels: dict[str, LabelSettings] = Field(
        default_factory=dict, description="Settings of single labels, by slug: `[detection.labels.dog_bark]`."
    )

    @field_validator("labels")
    @classmethod
    def _by_slug(cls, labels: dict[str, LabelSettings]) -> dict[str, LabelSettings]:
        by_slug = {slugify(name): label for name, label in labels.items()}
        if len(by_slug) < len(labels):
            raise ValueError("each label once; two of these names mean the same label")
        return by_slug
