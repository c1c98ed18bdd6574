"""Understand the words and codes that hospitals write for a part of the body and for a view.

Words are compared without accents and in upper case. Codes are of SNOMED CT and SNOMED RT (PS3.16, CID 4009, CID 4010).
"""

import re
from typing import Literal

BodyPart = Literal["chest", "near", "other", "unknown"]
View = Literal["frontal", "lateral", "oblique", "decubitus", "unknown"]

LETTERS = re.compile(r"[^\W\d_]+")
SILENT = frozenset({"UNKNOWN", "OTHER", "NONE", "UNSPECIFIED", "NA", "N", "A", "DEFAULT", "NULL"})
"""Words that say nothing."""

CHEST = re.compile(
    r"\w*(CHEST|THORAX|TORAX|TORACE|TORAKS|PULMON|POLMON|BRUSTKORB|BORSTKAS)\w*|(LUNG|POUMON|PULMAO|MEDIASTIN|BRONCH)\w*"
    r"|PULMO|INTRATHORACIC|THORACICCAVITY|KLATKA|CXR|HEART|HERZ|COEUR|CUORE|CORAZON|\w*ГРУДН\w*|\w*胸\w*"
)
NEAR = re.compile(r"RIBS?|RIBCAGE|STERNUM|COSTA[EL]?|COSTILLAS?|RIPPEN?|WHOLEBODY|BABYGRAM|BODY|TRUNK")
"""The chest is in the picture, but it was not taken to look at the lungs."""

OTHER = re.compile(
    # English, with the terms of PS3.16, annex L
    r"(HAND|WRIST|FINGER|THUMB|FOREARM|ELBOW|UPPERARM|HUMERUS|SHOULDER|SCAPULA|CLAVICLE|HIP|HIPJOINT|FEMUR|THIGH|KNEE"
    r"|PATELLA|LEG|LOWERLEG|TIBIA|FIBULA|CALF|ANKLE|FOOT|FEET|TOE|HEEL|HEAD|SKULL|ORBIT|NOSE|MANDIBLE|MAXILLA|JAW|TEETH"
    r"|TOOTH|NECK|SPINE|KIDNEY|BLADDER|BREAST|EXTREMITY|LIMB|JOINT|EYE|EAR)S?"
    r"|[CTLS]{1,3}SPINE|(CERVICAL|THORACIC|LUMBAR|SACRAL)SPINE|RADIUS|ULNA|ACROMIO\w*|SCAPHOID|NAVICULAR"
    r"|ABD|\w*ABDOM\w*|ADDOME|KUB|PELVI[SC]|CALCANEUS|FACIAL\w*"
    r"|SINUS(ES)?|NASAL|TMJ?|DENTAL|PANORAMIC|CERVICAL|LUMBAR|SACRUM|COCCYX|SACROILIAC|STOMACH|COLON|BOWEL|LIVER|UTERUS|BRAIN|ZYGOMA"
    r"|MASTOIDS?|EXTREMITIES|CRANIUM|CLAVICULA|(FORE|MID|HIND)FOOT|HALLUX|CALCIS|THORACOLUMBAR|LUMBOSACRAL|MAMM[AO]\w*|BONEAGE"
    # German
    r"|HAE?NDE|HANDGELENK\w*|ELLENBOGEN\w*|SCHULTER\w*|OBERARM\w*|UNTERARM\w*|KNIE\w*|FUSS\w*|VORFUSS|\w*SPRUNGGELENK\w*"
    r"|OBERSCHENKEL\w*|UNTERSCHENKEL\w*|HUE?FT\w*|BECKEN\w*|SCHAE?DEL\w*|KOPF|WIRBELSAE?ULE|\w*WIRBELSAE?ULE|[HBL]WS|BAUCH"
    r"|ZEHEN?|DAUMEN|\w*KIEFER|NNH"
    # French, Spanish, Italian, Portuguese, Dutch
    r"|POIGNET|COUDE|EPAULE|HANCHE|BASSIN|GENOUX?|CHEVILLE|PIED|CRANE|RACHIS|CUISSE|JAMBE|DOIGT|TETE"
    r"|MANOS?|MUNECA|CODO|HOMBRO|CADERA|RODILLAS?|TOBILLO|PIE|CRANEO|COLUMNA|DEDOS?|CABEZA|PIERNA|BRAZO|ANTEBRAZO"
    r"|POLSO|GOMITO|SPALLA|ANCA|BACINO|GINOCCHIO|CAVIGLIA|PIEDE|CRANIO|RACHIDE|COLONNA|DITO"
    r"|MAO|PUNHO|COTOVELO|OMBRO|QUADRIL|JOELHO|TORNOZELO|BACIA|COLUNA|PERNA|BRACO"
    r"|POLS|ELLEBOOG|SCHOUDER|HEUP|BEKKEN|ENKEL|VOET|SCHEDEL|BUIK|KOLANO|\w*КИСТ[ИЬ]|\w*КОЛЕН\w*|\w*ТАЗ"
)
OTHER_ALONE = frozenset({"MAIN", "FACE", "ARM", "BACK"})
"""Parts of the body where the element says nothing else; in a sentence they have other meanings."""

CHEST_CODES = frozenset(
    {
        "51185008", "T-D3000", "816094009", "43799004", "T-D3200", "39607008", "T-28000", "86598002", "T-280A0",
        "80891009", "T-32000", "955009", "T-26000", "416550000", "R-FAB55", "416775004", "R-FAB56",
    }
)  # fmt: skip
NEAR_CODES = frozenset({"113197003", "T-11300", "56873002", "T-11210", "38266002", "T-D0010"})
OTHER_CODES = frozenset(
    {
        "85562004", "T-D8700", "29836001", "T-D2500", "24136001", "T-15710", "72696002", "T-D9200",
        "69536005", "T-D1100", "45048000", "T-D1600", "818981001", "113345001", "T-D4000", "12921003",
        "T-D6000", "816092008", "56459004", "T-D9700", "421060004", "T-D04FF", "122494005", "T-11501",
        "122495006", "T-11502", "122496007", "T-11503", "89546000", "T-11100", "16982005", "T-D2220",
        "74670003", "T-15460", "70258002", "T-15750", "16953009", "T-15430", "7569003", "T-D8800", "29707007",
        "T-D9800", "51299004", "T-12310", "85050009", "T-12410", "71341001", "T-12710",
    }
)  # fmt: skip

POSTURE = r"(ERECT|SUPINE|SITTING|STANDING|UPRIGHT|PORTABLE|MOBILE|CHEST|THORAX|BED|LYING)?"
PA = re.compile(rf"(CHEST|THORAX)?PA{POSTURE}|POSTERO?I?O?R?(TO)?ANTERIO\w*|后前位?|後前位?")
AP = re.compile(rf"(CHEST|THORAX)?AP{POSTURE}|ANTERO?I?O?R?(TO)?POSTERIO\w*|前后位?|前後位?")
FRONTAL = re.compile(r"FRONTAL[EI]?|FACE|\w*ПРЯМ\w*|正位|正面")
SIDES = ("LEFT", "RIGHT", "BOTH", "LT", "RT", "L", "R")
TAILS = (*SIDES, "PA", "AP", "LAT", "LATERAL", "VIEW", "XRAY")
"""What people write together with a part of the body, before and after it."""

SIDE = r"(L|R|LT|RT|LEFT|RIGHT)?"
LATERAL = re.compile(
    rf"(CHEST|THORAX)?{SIDE}LAT(S|ERAL(E|ES|IS|A|AA?L)?)?{SIDE}(VIEW|ERECT|CHEST|THORAX)?|SIDEVIEW|LATERAAL|LATERO\w*|LL|SEITL(ICH\w*)?|SEITENAUFNAHME|PROFIL|PERFIL|ZIJDELINGS|DWARS"
    r"|BOCZN[AE]|\w*БОКОВ\w*|侧位|側位|側面"
)
LATERAL_ALONE = frozenset({"RL", "ML", "LM", "SAGITTAL", "PROFILE", "SEITE"})
"""Lateral views where the element says nothing else; in a sentence they have other meanings."""

OBLIQUE = re.compile(r"OBL|OBLI[QC]\w*|[LR][AP]O|[LR]LO|SCHRAE?G\w*")
DECUBITUS = re.compile(rf"{SIDE}(LAT|LATERAL)?(DEC|DECUB\w*|DEKUB\w*)|[LR]LD")
ON_THE_BACK = frozenset({"SUPINE", "SUPINO"})
"""With the word decubitus, an ordinary frontal projection of a patient in bed."""

POSTEROANTERIOR_CODES = frozenset({"272479007", "R-10214", "R-40888"})
ANTEROPOSTERIOR_CODES = frozenset({"399348003", "R-10206"})
FRONTAL_CODES = POSTEROANTERIOR_CODES | ANTEROPOSTERIOR_CODES | {"399033003", "R-10202"}
LEFT_LATERAL_CODES, RIGHT_LATERAL_CODES = frozenset({"399173006", "R-10236"}), frozenset({"399198007", "R-10232"})
LATERAL_CODES = (
    LEFT_LATERAL_CODES
    | RIGHT_LATERAL_CODES
    | {"399067008", "R-102CD", "399352003", "R-10228", "399260004", "R-10224", "30730003", "G-A145"}
)
OBLIQUE_CODES = frozenset(
    {
        "399312000", "R-10208", "399059000", "R-10216", "399160007", "R-10204", "399132005", "R-10252", "399135007",
        "R-10220", "399356000", "R-40985", "399006002", "R-10212", "399038007", "R-10210", "399184004", "R-10238",
        "399236003", "R-10234", "399182000", "R-102C1", "399099002", "R-10230", "399368009", "R-10226", "399325008",
        "R-10254", "260427002", "R-40783", "260421001", "R-4077D", "260424009", "R-40780",
    }
)  # fmt: skip


def words_of(text: str) -> list[str]:
    """Split a text into words of letters; letters that stand alone one after the other, as in P-A, are one word."""
    joined: list[str] = []
    single = False
    for word in LETTERS.findall(text):
        if single and len(word) == 1:
            joined[-1] += word
        else:
            joined.append(word)
            single = len(word) == 1
    return joined


def body_parts(text: str, whole_value: bool = True) -> set[BodyPart]:
    """Return what parts of the body a text names; nothing if it says nothing.

    Args:
        text: upper case, without accents.
        whole_value: whether it is the value of an element for the part of the body; in other texts unknown words say
            nothing.
    """
    words = [word for word in words_of(text) if word not in SILENT]
    found: set[BodyPart] = set()
    for word in [*words, "".join(words)] if whole_value else words:
        if CHEST.fullmatch(word):
            found.add("chest")
        if NEAR.fullmatch(word):
            found.add("near")
        other = any(map(OTHER.fullmatch, _bare(word) if whole_value else {word}))
        if other or (whole_value and word in OTHER_ALONE) or (CHEST.fullmatch(word) and "ABDO" in word):
            found.add("other")
    return found or ({"unknown"} if words and whole_value else set())


def _bare(word: str) -> set[str]:
    """Return a word without the side before it and the side or view after it, as in RHAND and HANDPA; and as it is."""
    heads = {word, *(word.removeprefix(side) for side in SIDES)}
    return heads | {head.removesuffix(tail) for head in heads for tail in TAILS}


def body_part_of_code(code: str, meaning: str) -> set[BodyPart]:
    """Return what part of the body a code stands for, or its meaning in words."""
    if code in CHEST_CODES:
        return {"chest"}
    if code in NEAR_CODES:
        return {"near"}
    return {"other"} if code in OTHER_CODES else body_parts(meaning)


def views(text: str, whole_value: bool = True) -> set[View]:
    """Return what views a text names; nothing if it says nothing.

    Args:
        text: upper case, without accents.
        whole_value: whether it is the value of an element for the view; in other texts unknown words say nothing.
    """
    words = [word for word in words_of(text) if word not in SILENT]
    candidates = [*words, "".join(words)]
    if any(DECUBITUS.fullmatch(word) for word in candidates):
        return {"frontal"} if ON_THE_BACK & set(words) else {"decubitus"}
    found: set[View] = set()
    if any(pattern.fullmatch(word) for word in candidates for pattern in (PA, AP, FRONTAL)):
        found.add("frontal")
    if any(OBLIQUE.fullmatch(word) for word in candidates):
        found.add("oblique")
    elif any(LATERAL.fullmatch(word) or (whole_value and word in LATERAL_ALONE) for word in candidates):
        found.add("lateral")
    return found or ({"unknown"} if words and whole_value else set())


def view_of_code(code: str, meaning: str) -> set[View]:
    """Return what view a code stands for, or its meaning in words."""
    if code in FRONTAL_CODES:
        return {"frontal"}
    if code in LATERAL_CODES:
        return {"lateral"}
    return {"oblique"} if code in OBLIQUE_CODES else views(meaning)


def view_position(text: str, code: str = "") -> str | None:
    """Return the defined term for a view that a text or a code names; None if there is none, or more than one."""
    words = words_of(text)
    candidates = [*words, "".join(words)]
    kinds = views(text) if words else view_of_code(code, "")
    side = _side(words) or ("L" if code in LEFT_LATERAL_CODES else "R" if code in RIGHT_LATERAL_CODES else "")
    if kinds == {"lateral"}:
        return f"{side}L" if side else "LAT"
    if kinds == {"decubitus"}:
        return f"{side}LD" if side else None
    if kinds == {"oblique"}:
        return next((word for word in candidates if re.fullmatch(r"[LR][APL]O", word)), None)
    posterior = any(PA.fullmatch(word) for word in candidates) or code in POSTEROANTERIOR_CODES
    anterior = any(AP.fullmatch(word) for word in candidates) or code in ANTEROPOSTERIOR_CODES
    return None if kinds != {"frontal"} or posterior == anterior else "PA" if posterior else "AP"


def _side(words: list[str]) -> str:
    """Return "L" or "R" if the words of a view name a side."""
    for word in words:
        found = re.fullmatch(
            r"(L|R)(T|EFT|IGHT)?|(L|R)(T|EFT|IGHT)?(L|LD|LAT\w*|DEC\w*)|LAT(ERAL)?(L|R)(T|EFT|IGHT)?", word
        )
        if found:
            return next(group for group in (found[1], found[3], found[7]) if group)
    return ""
