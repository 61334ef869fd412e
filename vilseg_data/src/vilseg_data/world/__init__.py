"""The built-in open worlds: procedural scenes, free captions, dense masks for evaluation."""

from vilseg_data.world.dataset import WORLDS, WorldCaptions, WorldLabelled, world_classes
from vilseg_data.world.first import FIRST
from vilseg_data.world.kinds import WorldKind
from vilseg_data.world.picture import contact_sheet
from vilseg_data.world.scene import Compositions
from vilseg_data.world.second import SECOND

__all__ = [
    "FIRST",
    "SECOND",
    "WORLDS",
    "Compositions",
    "WorldCaptions",
    "WorldKind",
    "WorldLabelled",
    "contact_sheet",
    "world_classes",
]
