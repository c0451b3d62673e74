"""How much of everything the study makes and trains on."""

from dataclasses import dataclass, replace

from training.probe import GRID, ProbeSettings
from training.recipe import Recipe, load_recipe


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of everything; the defaults take two cores some hours.

    Attributes:
        crops: that networks learn labels on.
        windows: that students hear their teachers on.
        scenes: that students are tuned on.
        clusters: of these.
        epochs: of a network or student; 0 for those of its recipe.
        epochs_compared: where losses are compared with each other.
        draws: in an epoch; 0 for those of the recipe.
        practice: minutes that a head is fitted on.
        mistakable: minutes with nothing to report; what a student finds in them its verifier learns to refuse.
        probed: recipes of a linear probe to choose from, the first ones of the usual grid.
        measured, chosen_on: minutes with sounds in them that it is measured on, and that its settings are chosen on.
    """

    crops: int = 4000
    windows: int = 3000
    scenes: int = 5000
    clusters: int = 32
    epochs: int = 0
    epochs_compared: int = 4
    draws: int = 0
    practice: int = 150
    mistakable: int = 2000
    probed: int = len(GRID)
    measured: int = 40
    chosen_on: int = 80

    def probe(self, tested: tuple[int, ...]) -> ProbeSettings:
        """How what is learnt is tested on these folds."""
        return ProbeSettings(grid=GRID[: self.probed], tested=tested)

    def recipe(self, name: str, seed: int) -> Recipe:
        """A shipped recipe with so much effort."""
        found = load_recipe(name)
        draws = self.draws or found.sampling.draws
        return replace(
            found,
            epochs=self.epochs or found.epochs,
            batch=min(found.batch, draws),
            sampling=replace(found.sampling, draws=draws),
            seed=seed,
        )
