"""The built-in open world: procedural scenes, free captions, dense masks for evaluation."""

from vilseg_data.world.dataset import UNSEEN, WORLD_CLASSES, WorldCaptions, WorldLabelled
from vilseg_data.world.language import SYNONYMS, TEMPLATES
from vilseg_data.world.picture import contact_sheet
from vilseg_data.world.scene import NAMES, STUFF, THINGS

__all__ = [
    "NAMES",
    "STUFF",
    "SYNONYMS",
    "TEMPLATES",
    "THINGS",
    "UNSEEN",
    "WORLD_CLASSES",
    "WorldCaptions",
    "WorldLabelled",
    "contact_sheet",
]
