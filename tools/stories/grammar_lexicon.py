"""Word lists of the story grammar: names, kinds of characters, and tables of things that go together.

It knows words only. It must not know templates, random numbers or splits, beyond saying which names are held out.
A table is a list of records; a template reads a field as ``{slot.field}`` and the field ``text`` as ``{slot}``.
In a spec string the fields are separated by ``;`` in the order of the table's header.
"""

from __future__ import annotations

Record = dict[str, str]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _table(header: str, *rows: str) -> list[Record]:
    """Rows of ``a; b; c`` under a header of the same shape; a row of another width is a mistake in the data."""
    keys = header.split()
    table = []
    for row in rows:
        cells = [cell.strip() for cell in row.split(";")]
        if len(cells) != len(keys):
            raise ValueError(f"{row!r} has {len(cells)} cells, the header {header!r} has {len(keys)}")
        table.append(dict(zip(keys, cells, strict=True)))
    return table


NAMES: dict[str, tuple[str, ...]] = {
    "he": _words(
        "Tom Ben Max Sam Tim Leo Jack Oscar Finn Hugo Theo Noah Luca Milo Otto Ravi Omar Felix Henry Arthur Charlie "
        "Daniel Toby Jasper Rory Eddie Billy Peter Simon Walter Marco Kofi Hassan Anton Bruno Caleb Dylan Ethan Freddy "
        "George Harry Ivan Jonah Kenji Louis Mateo Nico Owen Pablo Quinn Reuben Sandy Teddy Victor Willy Yusuf Zack "
        "Alfie Barney Casper Dexter Elmo Fergus Gus Hector Iggy Jimmy Kip Lenny Monty Ned Ollie Percy Rusty Scout Tiko "
        "Bramble Buster Chester Digby Ferdie Gilbert Hamish Murphy Nibbles Patch Rufus Snap Tuck Waffles Ziggy"
    ),
    "she": _words(
        "Lily Mia Anna Emma Lucy Sara Molly Ella Rosie Nina Maya Zoe Ruby Grace Clara Amina Priya Leila Hana Eva Alice "
        "Bella Chloe Daisy Elsie Freya Greta Hazel Iris Julia Kate Laura Mabel Nora Olive Polly Rita Sophie Tessa Una "
        "Vera Willa Yara Zara Ada Beth Cora Dora Edith Fatima Gina Heidi Ingrid Jenny Kira Lola Mina Nelly Opal Penny "
        "Rosa Sally Tilly Vicky Wendy Abby Betsy Coco Dolly Effie Fifi Ginger Honey Ivy Jojo Kiki Lulu Maisie Nutmeg "
        "Peaches Poppy Rumi Suki Tansy Velvet Winnie Yoko Zuzu Bonnie Clover Pearl"
    ),
}
# Names that no training story uses: validation stories, and unseen openings, take theirs from here.
HELD_OUT_NAMES: dict[str, tuple[str, ...]] = {
    "he": _words("Pip Barnaby Dougal Emil Gideon Jamal Kasper Linus Mungo Rafi Stanley Tobias Wilbur Zeke"),
    "she": _words("Juniper Marigold Saffron Tabitha Imogen Beatrix Odette Wren Flora Matilda Nadia Sylvie Keiko Luna"),
}
# Invented names are put together from these, so that a model must copy a name and cannot know them all by heart.
_NICK = (
    _words("Ba Bi Bo Da De Do Fe Fi Fo Ga Go Ha Ho Ka Ki Ko La Le Lo Ma Mi Mo Na Ne No Pa Pe Po Ra Ri Ro Sa So Ta Ti "
           "To Va Vi Wa Wi Za Zi Zo Bra Cro Dru Fli Gri Plu Qui Sni Spo Tri Twi Blu Cle Fre Glo Pri Sta"),
    _words("bbin bby bo cket ddle dge ffin ffy fi gby go lki ko la lla lo mble mbo mmy mo na nder ni nka nny no ppa "
           "ppet ppy ra ri ro rra ry sha lka ta ndo to tto va vi wen xie zz zzle"),
)
_ONSET = _words("B D F G H J K L M N P R S T V W Br Dr Fl Gl Gr Pl St Tr Th Ch Kn Cl")
_OPEN = _words("al an ar el em er il im in ol om or ul um av ev ov")
_FULL = _words("and end ern ild imb orn ell iss amm")
_END = _words("a o ie y ick ina et ette ard iel ia us")
_LAST = _words("bert ma ley wen ton by dy bo")
_CONSONANT, _VOWEL = _words("B D F G H J K L M N P R S T V W Z Sh Th Wr Br Tr"), _words("A E I O U Au Ei")
_SOUND = _words("a a e e i i o o u ee ai ia ei ie eo io oo")
_BETWEEN = _words("b d f g j k l m n p r s t v w z ff ld lt mm nd nn ph rg rn sh st tt th tr dr br bb ll ss rt lv ck")
_CLOSE = ("", *_words("n l r s d t m k x ld nd th ne te ke lle tte sh p b"))
NAME_PARTS = (
    _NICK, (_ONSET, _OPEN, _END), (_ONSET, _FULL, _END), (_ONSET, _OPEN, _LAST), (_ONSET, _OPEN, _OPEN, _END),
    (_VOWEL, _BETWEEN, _SOUND, _CLOSE), (_VOWEL, _BETWEEN, _SOUND, _BETWEEN, _SOUND, _CLOSE),
    (_CONSONANT, _SOUND, _CLOSE), (_CONSONANT, _SOUND, _BETWEEN, _SOUND, _CLOSE),
    (_CONSONANT, _SOUND, _BETWEEN, _SOUND, _BETWEEN, _SOUND, _CLOSE),
)  # fmt: skip
# What the parts make by chance, whole or within, and what no story for children should say.
NOT_NAMES = frozenset({"Happy", "Homo", "Bimbo", "Pricket", "She", "He", "The", "To", "So", "Do", "Be", "We", "It"})
NOT_WITHIN = _words(
    "anal anus arab arse ass bitch bog bomb butt cock crap cum cun damn dead dic die dik dild dum fag fat feck fuc fuk gay gun "
    "hell hit homo hor jap jew jizz kike kill kkk klan nazi negr nig nud orgi pae pedo peni pis poo porn pus rap ret sex shi "
    "slut spic spik suc suck tar tit turd ugl vag wank whor wog"
)
# A fifth of the invented names, by the sum of their letters, is held out as well.
HELD_OUT_EVERY = 5
FUNCTION_WORDS = frozenset(_words("a an and at by for from in into of off on or over the to under up with"))

# Kinds of hero and friend. build: how it gets about; limb: what it holds things with.
KINDS = _table(
    "text build limb",
    "fox; paws; paw", "rabbit; paws; paw", "mouse; paws; paw", "bear; paws; paw", "squirrel; paws; paw",
    "hedgehog; paws; paw", "badger; paws; paw", "otter; paws; paw", "mole; paws; paw", "kitten; paws; paw",
    "puppy; paws; paw", "raccoon; paws; paw", "beaver; paws; paw", "panda; paws; paw", "koala; paws; paw",
    "hamster; paws; paw", "wolf cub; paws; paw", "lion cub; paws; paw", "tiger cub; paws; paw", "monkey; hands; hand",
    "dormouse; paws; paw", "chipmunk; paws; paw", "ferret; paws; paw", "bunny; paws; paw", "weasel; paws; paw",
)
BIRDS = _table(
    "text", "owl", "robin", "sparrow", "crow", "magpie", "blackbird", "swallow", "jay", "dove", "seagull", "woodpecker",
)
BIG_ANIMALS = _table(
    "text", "moose", "horse", "elephant", "cow", "ox", "donkey", "bison", "camel", "stag", "buffalo",
)
SMALL_ANIMALS = _table(
    "text", "ant", "beetle", "ladybug", "snail", "cricket", "bumblebee", "caterpillar", "grasshopper", "spider", "moth",
)
WISE_ANIMALS = _table(
    "text", "tortoise", "goat", "owl", "toad", "heron", "turtle", "badger", "donkey", "sheep", "goose",
)
SIZES = _words("little small tiny young")
TRAITS = _table(
    "text noun", "kind; kindness", "brave; courage", "curious; curiosity", "cheerful; good cheer", "gentle; gentleness",
    "clever; cleverness", "playful; playfulness", "helpful; helpfulness", "quiet; calm", "friendly; friendliness",
    "merry; merriment", "lively; spirit", "polite; good manners", "hopeful; hope", "careful; care",
    "adventurous; spirit", "thoughtful; thoughtfulness", "patient; patience", "bouncy; energy", "dreamy; imagination",
)
HOMES: dict[str, tuple[str, ...]] = {
    "child": (
        "a small house on a hill", "a yellow house by the sea", "a cottage near the woods", "a tall house in the city",
        "a farmhouse with a red door", "a little flat above a bakery", "a village between two hills",
        "a white house with a big garden", "a quiet street near the park", "a cabin beside a lake",
        "a town with a tall clock tower", "a brick house at the end of the lane", "a harbor town full of boats",
    ),
    "animal": (
        "a cozy den under an oak tree", "a hollow log in the forest", "a warm burrow beneath the roots",
        "a nest of leaves at the edge of the wood", "a green valley with a winding stream", "a snug hole in the bank",
        "a sunny meadow full of flowers", "a deep forest where the ferns grew tall", "a cave with a mossy floor",
        "a burrow on a grassy hill above the river", "an old barn at the edge of a field", "a quiet corner of the wood",
        "a thicket of wild roses", "a little house made of sticks and bark",
    ),
}
# Places to be; `on` is the whole phrase that says where.
PLACES: dict[str, list[Record]] = {
    "child": _table(
        "text on", "the park; in the park", "the garden; in the garden", "the beach; at the beach",
        "the playground; at the playground", "the farm; on the farm", "the market; at the market",
        "the village green; on the village green", "the school yard; in the school yard", "the orchard; in the orchard",
        "the field; in the field", "the lake; by the lake", "the square; in the square", "the woods; in the woods",
    ),
    "animal": _table(
        "text on", "the forest; in the forest", "the meadow; in the meadow", "the river; by the river",
        "the pond; by the pond", "the hill; on the hill", "the valley; in the valley", "the clearing; in the clearing",
        "the old oak; under the old oak", "the stream; by the stream", "the orchard; in the orchard",
        "the berry patch; in the berry patch", "the field; in the field", "the big rock; beside the big rock",
    ),
}
SPOTS = _table(  # where a thing may be looked for, and where it may be found
    "text", "under a bush", "behind a big rock", "inside a hollow log", "between two roots", "under a pile of leaves",
    "behind the fence", "in the tall grass", "under the wooden bridge", "next to a mossy stump", "behind the old shed",
    "among the flowers", "beside the well", "in a ditch by the path", "under an upturned bucket", "behind a haystack",
    "at the foot of the stairs", "beneath a bench", "in a patch of clover", "near the gate",
)
# A thing may look like anything in its row of looks, and like anything in ANY_LOOKS.
ANY_LOOKS = _words("red blue green yellow purple orange white little old new tiny pretty")
THINGS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (_words("soft striped spotted warm woolen"), _words("scarf blanket mitten doll ribbon hat teddy")),
    (_words("wooden painted round fine"), _words("top drum whistle flute boat spoon wagon puzzle robot bowl yo-yo box")),
    (_words("shiny golden silver round"), _words("bell key lantern cup coin button badge marble trumpet necklace ring")),
    (_words("big bouncy striped"), _words("ball balloon umbrella kite bag bucket")),
    (_words("big fine nice"), _words("book notebook pencil crayon basket shell shovel paintbrush")),
]
FLYERS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (_words("striped big long paper"), _words("kite ribbon balloon")), (_words("soft striped warm"), _words("scarf hat")),
]
FLOATERS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (_words("wooden painted fine round"), _words("boat raft ship duck")),
]
# one: a single piece; it: the pronoun of the food; some: how one has it.
FOODS = _table(
    "text some one it was", "berries; some berries; berry; them; were", "cookies; a bag of cookies; cookie; them; were",
    "nuts; a sack of nuts; nut; them; were", "apples; a basket of apples; apple; them; were",
    "pancakes; a plate of pancakes; pancake; them; were", "cherries; a bowl of cherries; cherry; them; were",
    "plums; a bag of plums; plum; them; were", "muffins; a tray of muffins; muffin; them; were",
    "pears; a basket of pears; pear; them; were", "honey cakes; a box of honey cakes; honey cake; them; were",
    "grapes; a bunch of grapes; grape; them; were", "peaches; a crate of peaches; peach; them; were",
    "carrots; a bundle of carrots; carrot; them; were", "strawberries; a bowl of strawberries; strawberry; them; were",
    "chestnuts; a pocketful of chestnuts; chestnut; them; were", "buns; a paper bag of buns; bun; them; were",
)
WEATHERS = _table(
    "text day", "sunny; one sunny morning", "windy; one windy afternoon", "bright; one bright day",
    "warm; one warm spring day", "cool; one cool autumn morning", "clear; one clear morning",
    "fresh; one fresh spring morning", "golden; one golden morning", "quiet; one quiet afternoon",
    "hot; one hot summer day", "misty; one misty morning", "fine; one fine day", "breezy; one breezy day",
)
FAMILY: dict[str, list[Record]] = {
    "she": _table("text", "mother", "grandmother", "mom", "aunt", "grandma"),
    "he": _table("text", "father", "grandfather", "dad", "uncle", "grandpa"),
}
WISE_FOLK = _table(
    "text", "fisherman", "woodcutter", "shepherd", "farmer", "gardener", "baker", "teacher", "weaver", "sailor", "clockmaker",
)
# What a helper of each sort is called before the kind: "a wise old owl".
LOOKS: dict[str, tuple[str, ...]] = {
    "bird": ("friendly", "clever", "young", "big", "black", "kind"),
    "big": ("big", "strong", "huge", "gentle"),
    "small": ("tiny", "little", "very small"),
    "wise": ("old", "wise", "wise old", "gray", "kind old"),
}
