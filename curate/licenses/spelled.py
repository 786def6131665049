"""Licences as people write them: `cc by-sa 4.0`, `Apache License, Version 2.0`, `GPLv3+`, an address of Creative Commons; SPDX out.

Only names that mean one licence are read; what is left over ("MIT; images belong to their owners") makes the whole not understood. A name
without its version is read where its own terms say what that means, or where one version is the only one in use. Imports spdx, texts.
"""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache

from curate.licenses import spdx
from curate.licenses.texts import words

# Said where nothing is: no statement, so that `declared` may stand for it.
NOTHING = re.compile(
    r"(?:none|null|nil|na|n a|unknown|undefined|undeclared|unspecified|noassertion|other|tbd|todo|licenseref unknown"
    r"|(?:no|none|not)(?: license| licence)?(?: (?:is )?(?:stated|given|specified|declared|provided|available|known|found|set))?"
    r"(?: per .*)?)?$"
)
# Words of a comment in parentheses that may change what stands before it.
LIMITS = re.compile(r"modif|custom|except|only|non|not |but |restrict|research|academic|personal|part|most|some|addition", re.I)

FILLER = {"the", "a", "an", "license", "licence", "licenses", "licensed", "under", "public", "version", "ver", "v", "gnu", "of", "terms",
          "style", "software", "international", "unported", "generic", "universal", "us"}  # fmt: skip
PHRASES = (
    (r"\bgeneral public\b", "gpl"), (r"\b(?:lesser|library) gpl\b", "lgpl"), (r"\baffero gpl\b", "agpl"),
    (r"\b(?:lesser or library|library or lesser) gpl\b", "lgpl"), (r"\bcreative ?commons\b", "cc"),
    (r"\bshare ?alike\b", "sa"), (r"\bnon ?commercial\b", "nc"), (r"\bno ?deriv(?:ative)?s?(?: works)?\b", "nd"),
    (r"\b(a?gpl|lgpl|cc|apache|mpl|eupl)v?(\d)", r"\1 \2"), (r"\bv(\d)", r"\1"), (r"\bat (?:your|its) option\b", ""),
    (r"\bor (?:any )?(?:later|newer|greater|above)(?: version)?s?\b", "later"), (r"\bmozilla\b", "mpl"), (r"\bmpl mpl\b", "mpl"),
    (r"\bpython (?:software )?foundation\b", "psf"),
    (r"\bfree documentation\b", "gfdl"), (r"\bboost\b", "bsl"), (r"\bthree clause\b", "3 clause"), (r"\btwo clause\b", "2 clause"),
    (r"\bfour clause\b", "4 clause"), (r"\bopen data commons\b", "odc"), (r"\bpsf psf\b", "psf"),
)  # fmt: skip

_MOST_BSD = "BSD-3-Clause"  # without a number: of those in use the one with most conditions
PLAIN = {
    "bsd": _MOST_BSD, "new bsd": _MOST_BSD, "modified bsd": _MOST_BSD, "revised bsd": _MOST_BSD, "3 clause bsd": _MOST_BSD,
    "bsd 3": _MOST_BSD, "bsd new": _MOST_BSD, "simplified bsd": "BSD-2-Clause", "2 clause bsd": "BSD-2-Clause", "bsd 2": "BSD-2-Clause",
    "freebsd": "BSD-2-Clause", "4 clause bsd": "BSD-4-Clause", "original bsd": "BSD-4-Clause", "zero clause bsd": "0BSD", "expat": "MIT",
    "mit expat": "MIT", "apache": "Apache-2.0", "asl 2 0": "Apache-2.0", "apache 2": "Apache-2.0", "al2": "Apache-2.0", "psf": "PSF-2.0",
    "mpl 2": "MPL-2.0", "bsl": "BSL-1.0", "bsl 1": "BSL-1.0", "isc isc": "ISC", "zlib libpng": "Zlib", "libpng": "Libpng",
    "cc0": "CC0-1.0", "cc 0": "CC0-1.0", "cc zero": "CC0-1.0", "cc 0 1 0": "CC0-1.0", "cc zero 1 0": "CC0-1.0", "cc0 1": "CC0-1.0",
    "cc cc0": "CC0-1.0", "cc cc0 1 0": "CC0-1.0", "cc0 1 0 domain dedication": "CC0-1.0", "cc zero 1 0 domain dedication": "CC0-1.0",
    "odc by": "ODC-By-1.0", "odc attribution": "ODC-By-1.0", "odc by 1 0": "ODC-By-1.0", "odc attribution 1 0": "ODC-By-1.0",
    "odbl": "ODbL-1.0", "odc odbl": "ODbL-1.0", "open database": "ODbL-1.0", "odc open database": "ODbL-1.0", "pddl": "PDDL-1.0",
    "domain": "LicenseRef-public-domain", "domain mark": "LicenseRef-public-domain", "domain mark 1 0": "LicenseRef-public-domain",
    "cc domain mark 1 0": "LicenseRef-public-domain", "pdm": "LicenseRef-public-domain", "pd": "LicenseRef-public-domain",
    "domain free": "LicenseRef-public-domain",
    "ogl": "OGL-UK-3.0", "ogl 3": "OGL-UK-3.0", "ogl 3 0": "OGL-UK-3.0",
    "open government licence 3 0": "OGL-UK-3.0", "open government 3 0": "OGL-UK-3.0",
    "ogl uk 3 0": "OGL-UK-3.0", "artistic 2": "Artistic-2.0", "microsoft": "MS-PL", "do what fuck you want to": "WTFPL",
    "business source 1 1": "BUSL-1.1", "eupl": "EUPL-1.2", "european union 1 2": "EUPL-1.2", "etalab": "etalab-2.0",
    "open 2 0 licence ouverte": "etalab-2.0", "licence ouverte 2 0": "etalab-2.0",
}  # fmt: skip
# The licences themselves say that without a number any published version may be chosen (GPL-2.0 par. 9, LGPL-2.1 par. 13, GPL-3.0 par. 14).
UNNUMBERED = {"gpl": "GPL-1.0-or-later", "lgpl": "LGPL-2.0-or-later", "agpl": "AGPL-3.0-or-later", "gfdl": "GFDL-1.1-or-later"}
GNU = re.compile(r"(a?gpl|lgpl|gfdl)(?: (\d)(?: (\d))?)?( later| only)?$")
CC = re.compile(r"cc (?:by|attribution)((?: (?:nc|nd|sa))*)(?: (\d) (\d))?(?: ([a-z]{2,3}))?$")
CC_ADDRESS = re.compile(
    r"creativecommons\.org/(?:licenses/([a-z-]+)/(\d\.\d)(?:/([a-z]{2,3})\b)?|publicdomain/(zero|mark)/1\.0)", re.I
)
ADDRESSES = re.compile(
    r"https?://(?:www\.)?(?:opensource\.org/licen[sc]es?|spdx\.org/licenses|choosealicense\.com/licenses|gnu\.org/licenses"
    r"|apache\.org/licenses|opendatacommons\.org/licenses)/(?:LICENSE-|old-licenses/)?([A-Za-z0-9.+-]+?)(?:\.html|\.txt|/.*)?$", re.I
)  # fmt: skip
ADDRESS_NAMES = {"2.0": "Apache-2.0", "by": "ODC-By-1.0", "odbl": "ODbL-1.0", "pddl": "PDDL-1.0"}


@lru_cache(maxsize=1 << 16)
def read(said: str) -> tuple[str | None, str | None]:
    """(SPDX expression, how it was spelled). (x, None): written as SPDX does; (None, None): nothing is said; (None, why): not understood.

    A list of licences as JSON, and what stands between commas, is all of them together."""
    said = " ".join(said.split())
    try:
        expression = spdx.canonical(said)
        if expression.lower() != "licenseref-unknown":
            return expression, None if expression == said else f"spelled {_quoted(said)}"
    except spdx.NotSpdx:
        pass
    plain = " ".join(words(_without_comment(said)))
    if NOTHING.match(plain) and (plain or not re.search(r"\w", said)):  # words of another script are not nothing
        return None, None
    found = _read(said)
    return found, f"spelled {_quoted(said)}" if found else f"not understood: {_quoted(said)}"


def named(said: str) -> str | None:
    """The licence one name means, None where it means none or several: `apache license, version 2.0` -> Apache-2.0."""
    if match := CC_ADDRESS.search(said):
        if match[4]:
            return "CC0-1.0" if match[4].lower() == "zero" else "LicenseRef-public-domain"
        return _creative_commons(match[1].replace("-", " ").lower().removeprefix("by"), match[2], match[3])
    if match := ADDRESSES.match(said):
        said = ADDRESS_NAMES.get(match[1].lower(), match[1])
    key = _key(said)
    if match := GNU.match(key):
        name, major, minor, more = match.groups()
        if major is None:
            return UNNUMBERED[name]
        found = f"{name.upper()}-{major}.{minor or '0'}-{'or-later' if (more or '').strip() == 'later' else 'only'}"
        return spdx.ids()[0].get(found.lower())
    if match := CC.match(key):
        return _creative_commons(match[1], f"{match[2]}.{match[3]}" if match[2] else None, match[4])
    return PLAIN.get(key) or _listed().get(key) or _listed().get(f"{key} 0")


def _read(said: str) -> str | None:
    if said.startswith("["):
        return _list(said)
    plain = _without_comment(said)
    if found := named(plain):
        return found
    for separator, operator in ((r"\s*[,;]\s*(?:and\s+)?", "AND"), (r"\s+or\s+|\s*[/|]\s*", "OR"), (r"\s+and\s+|\s*&\s*", "AND")):
        if len(parts := [part for part in re.split(separator, plain, flags=re.I) if part]) > 1 and "://" not in plain:
            expressions = [_read(part) for part in parts]
            if all(expressions):
                return spdx.join(operator, [one for one in expressions if one])
    return None


def _list(said: str) -> str | None:
    try:
        parts = json.loads(said)
    except ValueError:
        return None
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        return None
    found = [read(part)[0] for part in parts]
    return spdx.join("AND", [one for one in found if one]) if all(found) else None


def _without_comment(said: str) -> str:
    """Without what stands in parentheses, unless it may limit what stands before."""
    return " ".join(re.sub(r"\([^()]*\)", lambda comment: comment[0] if LIMITS.search(comment[0]) else " ", said).split())


def _creative_commons(parts: str, version: str | None, port: str | None) -> str | None:
    """CC-BY-<parts>-<version>; without a version a LicenseRef, since each is another licence. A port the list lacks is the unported one."""
    elements = [part.upper() for part in parts.split() if part in ("nc", "nd", "sa")]
    order = [part for part in ("NC", "ND", "SA") if part in elements]
    name = "-".join(["CC-BY", *order])
    if version is None:
        return None if port else f"LicenseRef-{name}"
    known = spdx.ids()[0]
    return known.get(f"{name}-{version}-{port}".lower()) or known.get(f"{name}-{version}".lower())


@cache
def _listed() -> dict[str, str]:
    """Key of every id of the list that only one has."""
    found: dict[str, list[str]] = {}
    for name in spdx.ids()[0].values():
        found.setdefault(_key(name), []).append(spdx.canonical(name))
    return {key: names[0] for key, names in found.items() if len(set(names)) == 1 and key}


def _key(said: str) -> str:
    """Words of a name without what every name has."""
    plain = said.lower().replace("+", " or later ")
    key = " ".join(words(plain))
    key = " ".join(word for word in key.split() if word not in ("license", "licence", "version"))
    for pattern, put in PHRASES:
        key = re.sub(pattern, put, key)
    return " ".join(word for word in key.split() if word not in FILLER)


def _quoted(said: str) -> str:
    return f'"{said[:120]}{"..." if len(said) > 120 else ""}"'
