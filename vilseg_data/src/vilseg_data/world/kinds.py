"""What a world is made of: its surfaces, its words and its palette. The generator is one for all.

A kind is data; `scene.py` draws from it and `language.py` speaks of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from vilseg_data.world.shapes import Mask
from vilseg_data.world.textures import Grid, StuffTexture, ThingTexture

Shape = Callable[[Grid, Grid], Mask]


@dataclass(frozen=True, eq=False, kw_only=True)
class WorldKind:
    """One world. Category ids run over `stuff`, then `things`, in the order of their names.

    Attributes:
        name: what it is called in configurations and on the command line.
        stuff: textures that fill the image, by name.
        things: shapes, by name.
        textures: what things are covered with; the names are the adjectives of captions.
        typical: the texture that a thing has most often.
        hues: the hue in [0, 1] that a surface has most often.
        synonyms: two other words for each name.
        templates: sentences around the list of what is named.
        unseen: names that the zero-shot protocols count as unseen.
        held_out: a texture for some things that training scenes may be asked to leave out.
    """

    name: str
    stuff: Mapping[str, StuffTexture]
    things: Mapping[str, Shape]
    textures: Mapping[str, ThingTexture]
    typical: Mapping[str, str]
    hues: Mapping[str, float] = field(repr=False)
    synonyms: Mapping[str, tuple[str, str]] = field(repr=False)
    templates: tuple[str, ...] = field(repr=False)
    unseen: tuple[str, ...]
    held_out: Mapping[str, str]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Stuff, then things."""
        return (*self.stuff, *self.things)

    @cached_property
    def texture_names(self) -> tuple[str, ...]:
        return tuple(self.textures)
