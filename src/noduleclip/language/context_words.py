"""Tables of the words that tell what a number beside them measures, and of the words that may stand beside a size."""

from noduleclip.language.rating_words import PHRASES
from noduleclip.language.size_words import APPROXIMATELY, AXIS_LABELS
from noduleclip.language.words import LESS, MORE, map_phrases, split_words

NODULES = split_words(
    "nodule nodules lesion lesions tumor tumors tumour tumours opacity opacities nodularity density densities finding"
    " findings ggn ggns ggo ggos ssn ssns psn psns spn spns granuloma granulomas hamartoma hamartomas cancer cancers"
    " carcinoma carcinomas adenocarcinoma adenocarcinomas metastasis metastases focus foci abnormality abnormalities"
    " neoplasm neoplasms carcinoid mass masses one ones those them"
)
COUNTED = frozenset(word for word in NODULES if word.endswith("s") and not word.endswith("sis")) - split_words("ones")

# Numbers that measure something other than the diameter, by a word of their clause before them, or after them.
_OTHER_LENGTHS = {
    "a distance": "distance distances apart away margin margins separation shift displacement offset",
    "a thickness": "thickness thick thickened thickening wall walls collimation spacing increment reconstruction"
    " reconstructions",
    "a change": "growth grow grows grew grown growing increase increases increased increasing decrease decreases"
    " decreased decreasing enlargement enlarge enlarges enlarged enlarging shrinkage shrunk shrinking reduction"
    " reduced difference change changes changed regression progression variability error tolerance",
    "another dimension": "circumference perimeter depth height radius radii",
    "the size of a part": "component components portion portions part parts core cavity cavitation rim halo septa"
    " septum center centre",
    "the short axis": "short shortest perpendicular minor",
    "the size of something else": "node nodes lymph lymphadenopathy effusion pneumothorax cyst cysts bulla bullae"
    " aorta aortic artery vessel vessels airway bronchus stone calculus kidney liver thyroid adrenal"
    " aneurysm trachea catheter tube ring fov mediastinal hepatic renal pancreatic breast",
    "no length": "suv suvmax suvmean suvpeak uptake psa cea hu hounsfield attenuation ecog bmi fev1 egfr"
    " ldh crp dose ctdi ctdivol dlp kvp kv mas contrast saline",
}
OTHER_QUANTITIES = {word: kind for kind, words in _OTHER_LENGTHS.items() for word in words.split()}
SLICES = split_words("cut cuts images slice slices section sections collimation reconstruction reconstructions")
GROWTH_ADJECTIVES = split_words("growing enlarging enlarged shrinking increasing decreasing changing")
NOW = split_words("now currently today presently to")
DISTANCE_FOLLOWERS = map_phrases(
    **{
        "a distance": "from|away|apart|deep to|distal to|proximal to|caudal to|cranial to|lateral to|medial to"
        "|inferior to"
        "|superior to|anterior to|posterior to|below the|above the|beneath the|under the|of the pleura|of a pleura"
        "|of the fissure|of the carina|of the hilum|of pleura|of the chest wall|of the diaphragm|to the pleura"
    }
)
PAST = split_words("previously prior formerly before earlier initially originally ago vs versus")
PAST_REFERENCES = map_phrases(
    past="compared to|compared with|in comparison to|in comparison with|relative to|on prior|on the prior|on previous"
    "|on the previous|was|were|from|had been|last year"
)
PAST_SEEN = split_words(
    "seen noted described identified reported demonstrated known measured visualized visualised detected mentioned"
    " characterized imaged biopsied treated resected"
)

# Numbers without a unit: by the word before them (but for links), or after.
ATTRIBUTES = split_words(
    "malignancy subtlety spiculation lobulation texture calcification sphericity margin internalstructure"
    " rating ratings rated score scores age aged years grade stage slice slices series patient patients case"
    " cases id volume hu density attenuation probability risk suspicion image images level segment category rads"
    " suv suvmax psa cea ecog bmi fev1 egfr page figure table zone type number no count"
)
RATED_PLURALS = split_words(
    "spiculations lobulations calcifications margins border borders edge edges contour contours"
)
LINKS = split_words("of is are was be at the score rating rated : ( = - max")
OTHER_UNITS = split_words(
    "m y yr yrs year years month months week weeks day days hu % percent kg kv kvp ma mas pack times reader"
    " readers radiologist radiologists slices slice scan scans patient patients case cases image images hours hour"
    " minutes ng mg g mgy msv gy kpa mmhg cigarettes packs"
)
UNSIZED_NOUNS = ATTRIBUTES | split_words(
    "cell cells airway airways vessel vessels index effect like spectrometry node nodes component components"
)
BODY = split_words("body muscle lean")
CLAUSE_ENDS = split_words("; , but however although though while whereas")
SENTENCE_ENDS = split_words("; . but however although though while whereas")
ABBREVIATIONS = split_words("approx ca min max diam dia vs dr incl no resp cf st e.g i.e")

FOREIGN = split_words(
    "als oder und bis unter mehr weniger kleiner kleinere kleinerer grösser groesser gleich mindestens hoechstens"
    " ab von zwischen minimal maximal ohne kein keine keinen nicht que de du des ou et plus moins entre jusque"
    " aucun"
    " petit petits petite grand grands grande inferieur superieur inferieure superieure menor menores mayor mayores"
    " mas menos o y e sin hasta desde igual inferiore superiore inferiori superiori maggiore maggiori minore minori"
    " meno di da tra fra senza inferiores superiores maior maiores mais ate sem dan groter kleiner minder meer tot"
    " tussen zonder eller och og under enn mindre mer ikke inte utan uden storre mniejsze wieksze ponizej powyzej"
) - split_words("plus grande minimal maximal under tot")
"""Comparators, conjunctions and negations of other languages: a number beside them is refused."""

_LOCATIONS = split_words(
    "right left upper lower middle lobe lobes lobar apical apex basal base basilar lingula lingular anterior posterior"
    " lateral medial superior inferior peripheral central perihilar hilar subpleural pleural juxtapleural perifissural"
    " intrafissural fissural paramediastinal endobronchial segment segmental subsegmental rul rml rll lul lll"
    " bilateral intrapulmonary paravertebral diaphragmatic juxtavascular perivascular"
)
_ADJECTIVES = split_words(
    "scattered numerous innumerable clustered many several both punctate nonspecific worrisome concerning interesting"
    " new newly old stable unchanged persistent single solitary multiple isolated incidental indeterminate dominant"
    " largest biggest smallest index target tiny noncalcified uncalcified cavitary cavitating cavitated necrotic"
    " cystic irregular regular hypermetabolic fdg avid enhancing suspicious primary secondary metastatic malignant"
    " benign known visible additional another other further second third first actionable significant resolving"
    " well ill poorly sharply defined circumscribed marginated smooth nodular dense faint hazy heterogeneous"
    " homogeneous pure mixed solid subsolid nonsolid semisolid semi part partly partially non sub ground glass"
    " groundglass calcified triangular polygonal oval ovoid round rounded lentiform lobulated spiculated overall"
    " total mean average maximum maximal greatest long longest axis axes major larger diam dia d size sized sizes"
    " dimension dimensions diameter diameters length extent max cross sectional axial transverse coronal sagittal"
    " baseline prevalent incident screen detected growing enlarging enlarged shrinking"
)
_VERBS = split_words(
    "measuring measures measure measured measurement measurements is are was were be been being has have having had"
    " shows show showing showed demonstrates reveals revealed contains containing harboring with of at in on a an the"
    " any some all each every this that these its it which whose now currently today there for about approximately"
    " size sized volume volumes estimated ranging range ranges within from between and or but plus also either"
    " reach reaches reaching"
    " slightly much far strictly considerably significantly clearly definitely probably likely certainly"
    " should must shall may might can could will would everything anything something"
    " that's it's there's who's what's"
    " spanning spans across does do did remains remaining remained become becomes became only just"
)
_NOUNS = split_words(
    "ct lung lungs pulmonary chest x patient patients man woman male female case series image images slice t1 t1a"
    " t1b t1c t1mi t2 t2a t2b t3 t4 category screening scan"
    " outline shape appearance surface"
)
RATED = {word for phrase in PHRASES for word in phrase}
BESIDE = NODULES | AXIS_LABELS | APPROXIMATELY | _LOCATIONS | _ADJECTIVES | _VERBS | _NOUNS | (RATED - {"to"})
"""Words that may stand directly before a size."""
NOT_BEFORE_OF = split_words(
    "spiculation spiculations lobulation lobulations border borders edge edges contour contours texture outline shape"
    " appearance surface"
)
"""Of these, those that name a part of the nodule before "of 5 mm"."""
ARTICLES = split_words("a an the of in with is was measuring")
COMPARING_WORDS = split_words(
    f"{MORE} {LESS} than under above below over between exceeding at least most".replace("|", " ")
)
