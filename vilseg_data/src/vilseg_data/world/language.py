"""What is said of a scene: free captions that name some of what is there, never where."""

from collections.abc import Sequence

import numpy as np

from vilseg_data.world.kinds import WorldKind
from vilseg_data.world.scene import Scene, Thing

P_THING, P_STUFF, P_ADJECTIVE, P_SYNONYM = 0.9, 0.5, 0.3, 0.2


def _phrase(world: WorldKind, category: int, texture: str | None, rng: np.random.Generator) -> str:
    name = world.names[category]
    adjective, synonym, which, definite = rng.random(4).tolist()
    noun = world.synonyms[name][int(which * 2)] if synonym < P_SYNONYM else name
    words = f"{texture} {noun}" if texture is not None and adjective < P_ADJECTIVE else noun
    if category < len(world.stuff):
        return f"the {words}" if definite < 0.3 else words
    return f"the {words}" if definite < 0.3 else f"a {words}"


def caption(scene: Scene, shown: Sequence[bool], *, rng: np.random.Generator) -> str:
    """One caption of a scene.

    `shown` says which surfaces (stuff first, then things) may be named. A thing is named with
    probability 0.9, stuff with 0.5, and at least one surface is named. A thing takes the adjective
    of its texture with probability 0.3, and every noun is a synonym with probability 0.2.
    """
    surfaces = scene.stuff + scene.things
    named = [
        index
        for index, (surface, level) in enumerate(
            zip(surfaces, rng.random(len(surfaces)).tolist(), strict=True)
        )
        if shown[index] and level < (P_THING if isinstance(surface, Thing) else P_STUFF)
    ]
    if not named:
        candidates = [index for index, flag in enumerate(shown) if flag]
        named = [candidates[int(rng.integers(len(candidates)))]]
    phrases = []
    for index in rng.permutation(named).tolist():
        surface = surfaces[index]
        texture = surface.texture if isinstance(surface, Thing) else None
        phrases.append(_phrase(scene.world, surface.category, texture, rng))
    listed = " and ".join([", ".join(phrases[:-1]), phrases[-1]] if phrases[1:] else phrases)
    templates = scene.world.templates
    return templates[int(rng.integers(len(templates)))].format(listed)
