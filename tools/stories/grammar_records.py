"""Tables of the story grammar whose fields belong together: a skill with its trouble and its trick, a fear with its cause.

Words only, in the form that :mod:`grammar_lexicon` describes.
"""

from __future__ import annotations

from grammar_lexicon import Record, _table

# A skill: how it fails at first, what the teacher says, and what going right looks like ({h} is the learner).
SKILLS: list[Record] = _table(
    "text doing where fail tip win",
    "swim; swimming; at the pond; {h.he} splashed and sank and came up coughing;"
    " Keep your chin up and kick slowly; {h.he} glided all the way across the pond",
    "whistle; whistling; on the hill; only a puff of air came out;"
    " Make a small round shape with your lips and blow softly; a clear, sweet note rang out",
    "skate; skating; on the frozen lake; {h.his} feet slid apart and {h.he} landed with a bump;"
    " Bend your knees and look ahead, not down; {h.he} sailed over the ice like a bird",
    "climb; climbing; at the old oak; {h.he} slipped down before {h.he} reached the first branch;"
    " Hold on with three limbs and move only one; {h.he} sat on the highest branch and saw the whole valley",
    "dance; dancing; in the barn; {h.he} tripped over {h.his} own toes;"
    " Listen to the drum and count to four; {h.he} spun around in perfect time",
    "juggle; juggling; in the yard; every ball fell on {h.his} head;"
    " Begin with one ball, then two, and never hurry; three balls flew around and around",
    "sing; singing; by the stream; {h.his} voice cracked and squeaked;"
    " Take a deep breath and sing to the farthest tree; {h.his} song floated over the water",
    "read; reading; in the library; the letters seemed to jump about;"
    " Point at each letter and say its sound; the letters turned into words, and the words into a story",
    "bake bread; baking; in the kitchen; the dough stayed as flat as a stone;"
    " Let the dough rest in a warm place; the loaf rose high and smelled wonderful",
    "paint; painting; in the garden; all the colors ran together and turned brown;"
    " Wash your brush and wait for each color to dry; a bright picture of the hills appeared",
    "row; rowing; on the lake; the boat turned around in circles;"
    " Pull both oars at the same time; the boat slid straight to the other shore",
    "play the flute; playing; under the willow; the flute gave an awful squeal;"
    " Cover each hole gently and do not blow too hard; a soft and lovely tune filled the air",
    "jump rope; jumping; in the lane; the rope caught {h.his} feet again and again;"
    " Watch the rope and jump when it taps the ground; {h.he} jumped twenty times without a stop",
    "knit; knitting; by the fire; the wool turned into one big knot;"
    " Make one loop and count it before you make the next; a warm scarf grew longer and longer",
    "tie a knot; tying knots; on the dock; the rope fell open every time;"
    " Go over, go under, and pull it tight; the knot held fast",
    "ride a bicycle; riding; on the lane; {h.he} wobbled and fell into the grass;"
    " Look far ahead and keep your feet moving; {h.he} rolled down the lane with the wind in {h.his} face",
    "fish; fishing; by the river; the line got caught in the reeds;"
    " Sit still and wait until the line moves twice; a silver fish splashed at the end of the line",
    "plant a garden; planting; behind the house; the seeds washed away in the rain;"
    " Press each seed deep into the soil; green sprouts came up in straight rows",
)
# A frightening sign, what the hero imagined, and the harmless cause.
FEARS: list[Record] = _table(
    "sign guess cause small",
    "a scratching sound at the window; a monster with long claws; a branch that was moving in the wind; branch",
    "two shining eyes in the dark; a hungry wolf; two fireflies that were resting on a leaf; fireflies",
    "a low groan from the attic; a ghost; an old door that needed oil; door",
    "a big shadow on the wall; a giant; a small moth that was dancing around the lamp; moth",
    "a soft thump behind the door; a thief; a pear that had rolled off the table; pear",
    "a strange humming from the cellar; a dragon; a bumblebee that was looking for the way out; bumblebee",
    "a splash in the dark water; a sea monster; a frog that was jumping from stone to stone; frog",
    "a rustling in the bushes; a bear with sharp teeth; a hedgehog that was hunting for beetles; hedgehog",
    "a tapping on the roof; a witch; the first drops of rain; rain",
    "a white shape between the trees; a ghost; a shirt that had blown off the washing line; shirt",
    "a long hiss from the kitchen; a snake; a kettle that was boiling on the stove; kettle",
    "a rattling sound in the wall; a goblin; a mouse that was rolling a nut; mouse",
    "a deep rumble far away; an angry giant; a cart that was crossing the bridge; cart",
    "a flash of light in the barn; a fire spirit; a tin plate that was shining in the moonlight; plate",
)
# A present: what it is made of, where the parts come from, how it breaks and how it is mended.
GIFTS: list[Record] = _table(
    "text part where trouble mend",
    "crown of flowers; daisies; in the meadow; the wind blew half of the petals away;"
    " wove in green leaves to fill the gaps",
    "honey cake; honey; from the bees; the cake slid off the plate and broke in two;"
    " stuck the halves together with sweet cream",
    "necklace of shells; shells; on the beach; the string snapped and the shells rolled everywhere;"
    " picked up every shell and used a stronger string",
    "picture of the sea; paints; from the old chest; a drop of rain fell on it and made a blue spot;"
    " turned the spot into a smiling whale",
    "paper lantern; colored paper; from the shop; one side tore open;"
    " covered the tear with a golden star",
    "wooden spoon; a piece of wood; in the shed; the handle cracked;"
    " wrapped the handle with bright red thread",
    "warm scarf; soft wool; from the sheep; one end got tangled and came undone;"
    " made the loose end into a row of tassels",
    "jar of jam; blackberries; along the lane; half of the jam boiled over;"
    " put the rest into a small jar with a ribbon around it",
    "birthday card; pictures; from old magazines; the glue spilled across the front;"
    " sprinkled sand on the glue until it looked like a beach",
    "little basket; willow twigs; by the river; the bottom fell out;"
    " wove a new bottom that was twice as strong",
    "pillow; feathers; in the barn; a seam burst and the feathers flew about like snow;"
    " gathered the feathers and sewed the seam with tiny stitches",
    "kite; paper and string; in the cupboard; the tail came loose;"
    " tied on a new tail made of colorful rags",
)
# Something broken by accident: whose it is comes from the plot.
BREAKABLES: list[Record] = _table(
    "text how mend",
    "vase; bumped the table with an elbow; glued the pieces together, one by one",
    "teacup; reached for a cookie without looking; fixed the handle with strong glue",
    "picture frame; threw a ball inside the house; cut a new piece of glass and cleaned the frame",
    "flower pot; ran around the corner too fast; put the flower into a new pot with fresh soil",
    "clock; pulled the chain too hard; put the little wheels back in their places",
    "lamp; swung a stick like a sword; made a new shade out of paper",
    "chair; jumped up and down on the seat; hammered in a new leg",
    "music box; wound it up too far; bent the little spring back into shape",
    "bowl; tried to carry too many dishes at once; painted a golden line over the crack",
    "gate; climbed over it instead of opening it; nailed the loose board back in place",
    "mirror; spun around with a broom; put a new glass into the old frame",
    "teapot; pulled at the tablecloth; made a new lid from clay",
)
# Seeds: what comes up and what is done with it.
SEEDS: list[Record] = _table(
    "text plant crop treat",
    "pumpkin seed; vine; a huge orange pumpkin; pumpkin soup", "apple seed; sapling; three sweet apples; apple pie",
    "bean; green stalk; fat green beans; bean stew", "sunflower seed; stem; a flower as big as a plate; roasted seeds",
    "strawberry seed; little plant; a handful of red strawberries; strawberry jam",
    "tomato seed; bush; round red tomatoes; tomato soup", "melon seed; vine; one giant melon; cold slices of melon",
    "pea; climbing plant; dozens of sweet peas; pea soup", "carrot seed; feathery top; a long orange carrot; carrot cake",
    "corn seed; tall stalk; ears of yellow corn; popcorn",
)
# A heavy thing, why it must move.
LOADS: list[Record] = _table(
    "text why",
    "fallen log; lay across the path and nobody could pass", "big turnip; was stuck fast in the ground",
    "old cart; had sunk into the mud", "round stone; blocked the door of the mouse family",
    "rowing boat; had to be pulled up before the storm", "giant pumpkin; was needed at the harvest fair",
    "wooden chest; stood in the middle of the road", "heavy sled; had slid into a snowdrift",
    "barrel of apples; had rolled into the ditch", "broken branch; hung over the bridge",
)
PASTIMES: list[Record] = _table(
    "text play need",
    "build a castle; castle; pillows and blankets", "be pirates; ship; two chairs and a sheet",
    "open a shop; shop; empty boxes and buttons", "put on a play; stage; an old curtain and a lamp",
    "make a train; train; four chairs in a row", "have a tea party; table; acorn cups and a cloth",
    "camp in a tent; tent; a broom and a blanket", "make music; band; pots, pans, and wooden spoons",
    "fly to the moon; rocket; a big box and some paper stars", "explore a cave; cave; a table and a dark blanket",
)
SLEEPERS: list[Record] = _table(
    "try result",
    "counted sheep; the sheep only made {h.him} giggle", "drank a cup of warm milk; it was gone too soon",
    "turned the pillow over; the other side was just the same", "closed {h.his} eyes very tightly; they popped open again",
    "hummed a tune; the tune got stuck in {h.his} head", "pulled the blanket over {h.his} head; it was much too hot",
    "looked at the moon; the moon looked as wide awake as {h.he} was", "lay very still; {h.his} nose began to itch",
)
RACES: list[Record] = _table(
    "text finish slow",
    "the great race around the lake; the finish line; tripped over a root",
    "the sack race; the end of the field; fell flat on the grass",
    "the boat race; the far shore; ran into the reeds",
    "the climbing contest; the top of the hill; slid down a muddy slope",
    "the snow race; the red flag; sank into deep snow",
    "the race to the old mill; the old mill; got caught in a bramble bush",
    "the summer run; the big oak; twisted an ankle on a stone",
)
HURT: list[Record] = _table(
    "text hurt get",
    "bird; a hurt wing; flew up into the sky", "butterfly; a wet wing; fluttered over the flowers",
    "duckling; a sore foot; swam off across the pond", "lamb; a thorn in its leg; ran back to the flock",
    "frog; a scratch on its back; hopped into the pond", "young squirrel; a sore tail; leaped up into the tree",
    "turtle; a crack in its shell; walked slowly down to the water", "bee; a bent wing; buzzed back to the hive",
    "fawn; a scraped knee; bounded into the trees", "bat; a torn wing; flew off into the night",
)
THIEVES: list[Record] = _table(
    "text many", "hungry mouse; six baby mice", "thin stray cat; three kittens", "shy hedgehog; four little hedgehogs",
    "small gray rabbit; five baby rabbits", "skinny raccoon; two cubs", "old crow; a nest full of chicks",
    "tired duck; seven ducklings", "quiet squirrel; three babies",
)
