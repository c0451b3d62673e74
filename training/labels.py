"""What the shipped student tells apart: the ten sounds of ESC-10, and two alarms that are made up."""

ESC10 = {
    "dog_bark": "Dog bark",
    "rooster": "Rooster",
    "rain": "Rain",
    "sea_waves": "Sea waves",
    "fire_crackling": "Crackling fire",
    "baby_cry": "Crying baby",
    "person_sneeze": "Sneezing",
    "clock_tick": "Clock tick",
    "helicopter": "Helicopter",
    "chainsaw": "Chainsaw",
}
"""Its categories in ESC-10's table -> names."""
LABELS = (*ESC10.values(), "Smoke alarm", "Siren")
OTHER = "Other"
"""What is none of a student's labels."""
SMOKE_ALARM, SIREN = LABELS.index("Smoke alarm"), LABELS.index("Siren")
STEADY = ("Rain", "Sea waves", "Crackling fire", "Clock tick", "Helicopter", "Chainsaw")
"""Those that are heard all along, pauses and all."""
ONTOLOGY = dict(
    zip(
        LABELS,
        (
            "/m/05tny_",
            "/m/07qn5dc",
            "/m/06mb1",
            "/m/034srq",
            "/m/02_41",
            "/t/dd00002",
            "/m/01hsr_",
            "/m/07qjznt",
            "/m/09ct_",
            "/m/01j4z9",
            "/m/01y3hg",
            "/m/03kmc9",
        ),
        strict=True,
    )
)
"""Names -> the AudioSet classes that mean the same."""
