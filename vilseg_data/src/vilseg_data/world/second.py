"""The second world: other surfaces, words and colours, to confirm what was found in the first."""

from vilseg_data.world.kinds import WorldKind
from vilseg_data.world.shapes_second import SHAPES_SECOND
from vilseg_data.world.textures_second import STUFF_TEXTURES_SECOND, THING_TEXTURES_SECOND

_TYPICAL = {
    "heart": "solid",
    "arrow": "slanted",
    "fish": "netted",
    "house": "quartered",
    "bolt": "solid",
    "cup": "wavy",
    "leaf": "wavy",
    "bell": "slanted",
    "boat": "spotted",
    "hourglass": "quartered",
    "crown": "netted",
    "butterfly": "spotted",
}
_HUES = {
    "plaid": 0.95, "lava": 0.04, "snow": 0.60, "rain": 0.52, "marble": 0.72, "pebbles": 0.10,
    "furrows": 0.22, "lattice": 0.88, "pond": 0.45, "basket": 0.14,
    "heart": 0.97, "arrow": 0.00, "fish": 0.56, "house": 0.06, "bolt": 0.16, "cup": 0.68,
    "leaf": 0.32, "bell": 0.13, "boat": 0.63, "hourglass": 0.80, "crown": 0.18, "butterfly": 0.75,
}  # fmt: skip
_SYNONYMS = {
    "plaid": ("tartan", "cloth"),
    "lava": ("magma", "embers"),
    "snow": ("blizzard", "flakes"),
    "rain": ("drizzle", "downpour"),
    "marble": ("stone", "alabaster"),
    "pebbles": ("cobbles", "shingle"),
    "furrows": ("field", "farmland"),
    "lattice": ("grille", "window"),
    "pond": ("pool", "ripples"),
    "basket": ("wicker", "rattan"),
    "heart": ("valentine", "love"),
    "arrow": ("pointer", "dart"),
    "fish": ("trout", "carp"),
    "house": ("cottage", "hut"),
    "bolt": ("lightning", "flash"),
    "cup": ("mug", "teacup"),
    "leaf": ("foliage", "petal"),
    "bell": ("chime", "gong"),
    "boat": ("sailboat", "yacht"),
    "hourglass": ("sandglass", "timer"),
    "crown": ("tiara", "coronet"),
    "butterfly": ("moth", "monarch"),
}
_TEMPLATES = (
    "{}",
    "a drawing of {}",
    "{} in this picture",
    "a view of {}",
    "this is {}",
    "what you see is {}",
    "somebody drew {}",
    "it shows {}",
    "a card with {}",
    "nothing but {}",
    "{} again",
    "my favourite one has {}",
)

SECOND = WorldKind(
    name="world2",
    stuff=STUFF_TEXTURES_SECOND,
    things=SHAPES_SECOND,
    textures=THING_TEXTURES_SECOND,
    typical=_TYPICAL,
    hues=_HUES,
    synonyms=_SYNONYMS,
    templates=_TEMPLATES,
    unseen=("marble", "lattice", "cup", "crown", "butterfly"),
    held_out={"heart": "slanted", "fish": "quartered", "bell": "wavy", "boat": "netted"},
)
