"""The first world: what `vilseg demo` learns."""

from vilseg_data.world.kinds import WorldKind
from vilseg_data.world.shapes import SHAPES
from vilseg_data.world.textures import STUFF_TEXTURES, THING_TEXTURES

_TYPICAL = {
    "ball": "striped",
    "box": "dotted",
    "tent": "striped",
    "cross": "checkered",
    "ring": "split",
    "star": "split",
    "moon": "plain",
    "kite": "checkered",
    "log": "ringed",
    "flower": "ringed",
    "mushroom": "dotted",
    "tree": "plain",
}
_HUES = {
    "grass": 0.28, "water": 0.58, "brick": 0.03, "sky": 0.55, "sand": 0.12, "tiles": 0.78,
    "wood": 0.08, "fog": 0.66, "fence": 0.40, "scales": 0.47,
    "ball": 0.98, "box": 0.09, "tent": 0.15, "cross": 0.00, "ring": 0.50, "star": 0.14,
    "moon": 0.17, "kite": 0.85, "log": 0.06, "flower": 0.92, "mushroom": 0.02, "tree": 0.34,
}  # fmt: skip
_SYNONYMS = {
    "grass": ("lawn", "turf"),
    "water": ("sea", "lake"),
    "brick": ("masonry", "brickwork"),
    "sky": ("heaven", "dusk"),
    "sand": ("gravel", "beach"),
    "tiles": ("mosaic", "tiling"),
    "wood": ("timber", "planks"),
    "fog": ("mist", "haze"),
    "fence": ("mesh", "netting"),
    "scales": ("shingles", "armour"),
    "ball": ("sphere", "globe"),
    "box": ("crate", "cube"),
    "tent": ("pyramid", "wedge"),
    "cross": ("plus", "crossing"),
    "ring": ("hoop", "donut"),
    "star": ("pentagram", "starfish"),
    "moon": ("crescent", "sickle"),
    "kite": ("diamond", "rhombus"),
    "log": ("beam", "bar"),
    "flower": ("blossom", "bloom"),
    "mushroom": ("toadstool", "fungus"),
    "tree": ("pine", "fir"),
}
_TEMPLATES = (
    "{}",
    "a photo of {}",
    "a picture of {}",
    "an image with {}",
    "there is {}",
    "there is {} here",
    "we see {}",
    "this shows {}",
    "here we have {}",
    "a scene with {}",
    "one can see {} today",
    "look at {}",
)

FIRST = WorldKind(
    name="world",
    stuff=STUFF_TEXTURES,
    things=SHAPES,
    textures=THING_TEXTURES,
    typical=_TYPICAL,
    hues=_HUES,
    synonyms=_SYNONYMS,
    templates=_TEMPLATES,
    unseen=("wood", "fence", "ring", "kite", "mushroom"),
    held_out={"ball": "checkered", "tent": "dotted", "star": "striped", "flower": "split"},
)
