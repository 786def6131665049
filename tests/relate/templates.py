"""10,000 documents of three templates (adverts, weather reports, law paragraphs) that say different things, and why no two are alike.

Out: Estonian texts, sentences of our own. May import the standard library and tests.relate.planted (the bound's shingles).

Below the threshold by construction. Slot k of a template has P = 67 values of one word each, and that word stands nowhere else: not
in the fixed text, not among the other values, in its document once. Document (a, b) has value (a + b * k) mod 67 in slot k. Two
different lines over the integers mod 67 meet in at most one k, so two documents of a template agree in at most one slot. A shingle
without a slot's word is fixed text; one with a slot's word can only be shared by documents that agree in that slot. So with n
distinct shingles in a document, t of them fixed and at most w around one slot,

    J <= (t + w) / (2 n - (t + w))        for any two documents of one template,

and documents of different templates share nothing, because no five words stand side by side in two of the fixed texts. `bound`
computes it; test_templates.py counts every one of the 50 million pairs besides. datatrove replaces digits before it shingles, so
three slots in four hold words, not numbers, and stay different for it as well.
"""

from __future__ import annotations

import random
from itertools import product
from typing import NamedTuple

from tests.relate.planted import NGRAM, shingles

P = 67  # prime: 4,489 documents per template


class Template(NamedTuple):
    text: str  # {name}: a slot
    slots: dict[str, list[str]]

    def document(self, a: int, b: int) -> str:
        values = {name: words[(a + b * k) % P] for k, (name, words) in enumerate(self.slots.items())}
        return self.text.format(**values)


def joined(firsts: str, seconds: str) -> list[str]:
    """P compounds: every first part with every second one."""
    return ["".join(parts) for parts in product(firsts.split(), seconds.split())][:P]


def numbers(first: int, step: int, form: str = "{}") -> list[str]:
    return [form.format(first + step * i) for i in range(P)]


ADVERT = Template(
    """Müüa {thing}, {year}. aastal tehtud, hind {price} eurot. Kaup asub {village}, aadress {street}, uksel küsida {name}.
Seisukord {state}, kaasa saab {extra}.

Kuulutuse lisas meie portaali kasutaja, kes on nõustunud tingimustega ja kinnitanud, et pakutav ese kuulub talle ning ei ole panditud
ega varastatud. Portaal ei ole tehingu osaline ega vastuta kauba seisukorra, tarne või makse eest; need asjad lepivad ostja ja müüja
omavahel kokku. Enne ostmist vaadake ese kohapeal üle ja ärge saatke raha ette võõrale, keda te ei tunne. Kui pakkumine tundub
kahtlane, vajutage nuppu teata ja meie toimetus kontrollib kuulutust esimesel võimalusel. Müüjale saab kirjutada ka siinsamas, kui
olete sisse loginud; vastuse saabumisest anname teada meiliga. Sarnaseid pakkumisi leiate sama rubriigi alt, otsingu saab salvestada
ja uued lisandumised jõuavad teieni iga päev.
""",
    {
        "thing": joined(
            "kirjutus laste köögi aia saali voodi vaiba raamatu riide", "laud riiul kapp tool lamp kast pink komplekt"
        ),
        "year": numbers(1950, 1),
        "price": numbers(10250, 35),
        "village": joined("Metsa Jõe Kivi Soo Liiva Nurme Saare Järve Mäe", "külas vallas otsal nõmmel lahel vainul silmal pool"),
        "street": joined(
            "Kase Lepa Männi Kuuse Tamme Pihla Vahtra Saarepuu Toome", "tänav tee põik puiestee rada allee plats kallas"
        ),
        "name": joined("Sini Hele Tume Puna Valge Must Rohe Kuld Hõbe", "mägi maa oja lill rand puu kivi saar"),
        "state": joined(
            "üsna väga pisut täiesti osalt seest väljast pealt alt",
            "terve kulunud pleekinud lakitud parandatud krobeline sile mõlkis",
        ),
        "extra": joined(
            "puidust plekist villast nahast klaasist linasest paberist kummist vasest",
            "kate sahtel padi käepide jalg kott alus hoidja",
        ),
    },
)

WEATHER = Template(
    """Ilmateade kohale {area}. Öösel puhub {night} tuul, päeval pöördub see ja toob kaasa nähtuse nimega {day}.

Õhutemperatuur on öösel {low} kraadi, ennelõunal tõuseb see {high} kraadini ja õhtuks jääb pidama {evening} kraadi juurde. Õhurõhk
on merepinnale arvutatuna {pressure} hektopaskalit. Põllumehel tasub ette võtta {farm}, linnainimesel sobib hästi {town}.

Prognoosi koostas valves olev sünoptik mudelite, satelliidipiltide ja rannikujaamade vaatluste põhjal. Ennustus kehtib kuni järgmise
väljaandeni ning seda uuendatakse neli korda ööpäevas. Hoiatused tugeva tuule, äikese, jäite või tiheda udu kohta avaldatakse eraldi
lehel ja saadetakse soovijatele sõnumina. Veekogudel liikujatel palume arvestada, et avamerel võivad olud olla hoopis karmimad kui
siseveekogudel, ning teedel liikujatel, et sillad ja metsavahelised lõigud külmuvad esimesena. Ettepanekud ja küsimused ootame
telefonile, mille leiate lehe allservast, tööpäeviti kella kaheksast viieni. Ajaloolised mõõtmised alates eelmisest sajandist
on kättesaadavad avaandmete väravas, kus neid võib vabalt kasutada, kui viidatakse allikale. Kaardirakenduses näeb radaripilti,
välgulööke ja teeilma, andmed uuenevad seal iga viie minuti järel. Pikema ette vaatega kuuprognoos ilmub neljapäeviti ning selle
täpsus on loomulikult väiksem.
""",
    {
        "area": joined(
            "Põhja Lõuna Ida Lääne Kesk Ranna Sise Üla Ala", "randa madalik kõrgustik saarestik orund tasandik piirkond vööndis"
        ),
        "night": joined(
            "mere maa metsa lahe jää lume kõrbe hommiku mägi", "kaarne pealne poolne alune äärne tagune keskne lähedane"
        ),
        "day": joined("udu vihma lume rahe jäite hoo äikese lörtsi pilve", "sein rünk joon viirg laam küte vari keeris"),
        "low": numbers(1, 1, "{},1"),
        "high": numbers(1, 1, "{},2"),
        "evening": numbers(1, 1, "{},3"),
        "pressure": numbers(970, 1, "{},4"),
        "farm": joined(
            "heina vilja kartuli kapsa oa herne lina rapsi maasika",
            "niitmine külvamine korjamine kõplamine katmine kastmine vedamine sortimine",
        ),
        "town": joined(
            "pargi jõe linna öö kooli matka kelgu suusa ratta", "jalutuskäik sõit piknik laat kontsert näitus talgud võistlus"
        ),
    },
)

LAW = Template(
    """Paragrahv {number}. Seaduse mõiste {term} tähendus

Käesoleva seaduse tähenduses hõlmab mõiste ka toimingut {act}, kui selle on ette võtnud {body} oma pädevuse piires. Taotlus esitatakse
hiljemalt {days} tunni jooksul ning sellele lisatakse {paper} ja riigilõivu tasumist tõendav dokument. Otsuse teeb {officer}, kes kuulab
enne ära puudutatud isikud ja küsib arvamuse asutuselt {adviser}. Nõuete rikkumise eest määratakse {fine} trahviühikut, korduva
rikkumise korral peatatakse {right} kuni puuduste kõrvaldamiseni. Järelevalvet tehakse kohas {place} vähemalt kord aastas.

Otsuse peale võib esitada vaide või kaebuse halduskohtule kolmekümne päeva jooksul selle teatavaks tegemisest arvates. Vaide esitamine
ei peata otsuse täitmist, kui seaduses ei ole sätestatud teisiti. Valdkonna eest vastutav minister kehtestab määrusega taotluse vormi
ja andmekogu pidamise korra. Käesolev säte jõustub üldises korras ega piira isiku õigust nõuda kahju hüvitamist tsiviilkorras.
""",
    {
        "number": numbers(3001, 1),
        "term": joined(
            "maa vee metsa raudtee lennu kala jahi toidu ravimi", "register luba kaitse toetus teenistus tasu hoid leping"
        ),
        "act": joined(
            "hoone kraavi silla liini kaabli tee sadama katla masina",
            "lammutust rajamist märgistamist mõõtmist müüki üürimist katsetust puhastust",
        ),
        "body": joined(
            "linna valla riigi kooli haigla kiriku küla panga spordi",
            "amet nõukogu kogu inspektsioon komisjon büroo sekretär keskus",
        ),
        "days": numbers(72, 24),
        "paper": joined("maksu töö auto laeva elu isiku paadi relva koera", "tõend kaart leht pass kirjeldus avaldus akt plaan"),
        "officer": joined(
            "vanem abi pea üld noorem erakorra lepingu ring era",
            "uurija järelevaataja ekspert revident nõunik jurist arhivaar kontrolör",
        ),
        "adviser": joined(
            "Kaubandus Käsitöö Põllu Mere Arhiivi Muuseumi Statistika Geo Patendi",
            "koda liit selts ühing ühistu labor instituut fond",
        ),
        "fine": numbers(20005, 50),
        "right": joined(
            "kütte püügi kaevandamis veo ehitus majutus tootmis ladustamis õpetamis",
            "tegevus kasutus teenus voli kava äri kord õigus",
        ),
        "place": joined(
            "keldri katuse õue kai lao väljaku tunneli kambri kuuri", "ruumis nurgas servas põhjas väravas laes seinal trepil"
        ),
    },
)

TEMPLATES = {"adverts": (ADVERT, 4000), "weather": (WEATHER, 3000), "laws": (LAW, 3000)}


def documents(seed: int, share: float = 1.0) -> dict[str, list[str]]:
    """Name of the template -> its documents (4,000, 3,000 and 3,000 of them, times `share`), each another line."""
    rng = random.Random(seed)
    lines = list(product(range(P), range(P)))
    made = {}
    for name, (template, n) in TEMPLATES.items():
        made[name] = [template.document(a, b) for a, b in rng.sample(lines, int(n * share))]
    return made


def slot_words(template: Template) -> dict[str, str]:
    """Word of a slot, as it stands in shingles -> the slot. Raises where the construction does not hold."""
    fixed = {word for shingle in shingles(template.text.format(**dict.fromkeys(template.slots, "|"))) for word in shingle}
    slot_of: dict[str, str] = {}
    for name, values in template.slots.items():
        found = [shingles(value) for value in values]
        words = {word for own in found for shingle in own for word in shingle}
        if len(values) != P or len(words) != P or {len(own) for own in found} != {1} or words & (fixed | slot_of.keys()):
            raise ValueError(f"slot {name}: {len(values)} values, {len(words)} words, {sorted(words & (fixed | slot_of.keys()))}")
        slot_of |= dict.fromkeys(words, name)
    return slot_of


def bound(template: Template) -> float:
    """The largest Jaccard similarity two documents of the template can have."""
    slot_of = slot_words(template)
    own = shingles(template.document(0, 1))
    slots = [{slot_of[word] for word in shingle if word in slot_of} for shingle in own]
    fixed = sum(not names for names in slots)
    around = max(sum(names == {name} for names in slots) for name in template.slots)
    return (fixed + around) / (2 * len(own) - (fixed + around))


def fixed_shingles(template: Template) -> frozenset[tuple[str, ...]]:
    """The shingles every document of the template has."""
    slot_of = slot_words(template)
    return frozenset(s for s in shingles(template.document(0, 1), NGRAM) if not any(word in slot_of for word in s))
