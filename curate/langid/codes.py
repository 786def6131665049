"""One code per language: ISO 639-1 where it exists, else the 639-3 code, whatever a model or a source calls it."""

from __future__ import annotations

from collections.abc import Iterable

# ISO 639-3 (and 639-2/B where it differs, and the main individual language of a macrolanguage) to ISO 639-1.
_PAIRS = """
aar aa  abk ab  ave ae  afr af  aka ak  amh am  arg an  ara ar  arb ar  asm as  ava av  aym ay  ayr ay  aze az  azj az  bak ba
bel be  bul bg  bih bh  bis bi  bam bm  ben bn  bod bo  tib bo  bre br  bos bs  cat ca  che ce  cha ch  cos co  cre cr  ces cs
cze cs  chu cu  chv cv  cym cy  wel cy  dan da  deu de  ger de  div dv  dzo dz  ewe ee  ell el  gre el  eng en  epo eo  spa es
est et  ekk et  eus eu  baq eu  fas fa  per fa  pes fa  ful ff  fin fi  fij fj  fao fo  fra fr  fre fr  fry fy  gle ga  gla gd
glg gl  grn gn  guj gu  glv gv  hau ha  heb he  hin hi  hmo ho  hrv hr  hat ht  hun hu  hye hy  arm hy  her hz  ina ia  ind id
ile ie  ibo ig  iii ii  ipk ik  ido io  isl is  ice is  ita it  iku iu  jpn ja  jav jv  kat ka  geo ka  kon kg  kik ki  kua kj
kaz kk  kal kl  khm km  kan kn  kor ko  kau kr  kas ks  kur ku  kmr ku  kom kv  cor kw  kir ky  lat la  ltz lb  lug lg  lim li
lin ln  lao lo  lit lt  lub lu  lav lv  lvs lv  mlg mg  plt mg  mah mh  mri mi  mao mi  mkd mk  mac mk  mal ml  mon mn  khk mn
mar mr  msa ms  may ms  zsm ms  mlt mt  mya my  bur my  nau na  nob no  nb no  nde nd  nep ne  npi ne  ndo ng  nld nl  dut nl
nno nn  nor no  nbl nr  nav nv  nya ny  oci oc  oji oj  orm om  gaz om  ori or  ory or  oss os  pan pa  pli pi  pol pl  pus ps
pbt ps  por pt  que qu  quy qu  roh rm  run rn  ron ro  rum ro  rus ru  kin rw  san sa  srd sc  snd sd  sme se  sag sg  sin si
slk sk  slo sk  slv sl  smo sm  sna sn  som so  sqi sq  alb sq  als sq  srp sr  ssw ss  sot st  sun su  swe sv  swa sw  swh sw
tam ta  tel te  tgk tg  tha th  tir ti  tuk tk  tgl tl  tsn tn  ton to  tur tr  tso ts  tat tt  twi tw  tah ty  uig ug  ukr uk
urd ur  uzb uz  uzn uz  ven ve  vie vi  vol vo  wln wa  wol wo  xho xh  yid yi  ydd yi  yor yo  zha za  zho zh  chi zh  cmn zh
zul zu  fil tl
"""
NOT_A_LANGUAGE = ("und", "zxx")  # GlotLID's labels for what is no text, and for scripts it does not know; py3langid has zxx

_SHORT = dict(zip(_PAIRS.split()[::2], _PAIRS.split()[1::2], strict=True))


def language_code(code: str) -> str:
    """et for et, est, ekk, est_Latn, et-EE and __label__ekk_Latn; a code without a two-letter form stays (vro, olo)."""
    base = code.removeprefix("__label__").replace("-", "_").split("_")[0].lower()
    return _SHORT.get(base, base)


def is_language_code(code: str) -> bool:
    """Is it one of the codes that `language_code` knows, perhaps with a script or a country behind it?"""
    base = code.replace("-", "_").split("_")[0]
    return base.islower() and (base in _SHORT or base in _SHORT.values())


def label_codes(labels: Iterable[str]) -> dict[str, str]:
    """The code of every label of one model. als is Tosk Albanian in ISO 639-3; beside sq, in lid.176, it is Wikipedia's Alemannic."""
    labels = list(labels)
    codes = {label: language_code(label) for label in labels}
    names = {label.removeprefix("__label__"): label for label in labels}
    if "als" in names and "sq" in names:
        codes[names["als"]] = "gsw"
    return codes
