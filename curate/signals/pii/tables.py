"""Words that tell the kernels what a number or an address is, and the top-level domains, as one table of hashes. Data.

Imports the kernels of words, to hash as they do.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from curate.signals.pii.words import kernels as k

# Words by what they say of the number after them (UNIT: before them), in lower case; a trailing * matches any ending. Estonian
# first, then the languages around it. Found by reading texts, not exhaustive: a number with + needs no word.
WORDS = {
    k.PHONE: """
        tel telef telefon* telf tlf tfn tlfn gsm mob mobiil mobiili mobiilil mobiilile mobiilinumber* mobiilinr mobiiltelefon*
        mobil mobile mobiltelefon* mobilni* fax faks faksi faksil faksinumber* telefaks* telefax* phone phones telephone*
        kontakttelefon* infotelefon* lauatelefon* klienditelefon* abitelefon* valvetelefon* tugitelefon* müügitelefon*
        töötelefon* kodutelefon* usaldustelefon* sidetelefon* lühitelefon* infoliin* abiliin* helista helistage helistada
        helistades helistaja sms whatsapp viber puh puhelin* puhelim* matkapuhelin* soita handy telefoon* tél téléphone* kom
        tālr tālrun* mobilais тел телеф телефон* моб мобильн* факс* звоните позвоните whatsappi viberi
    """,
    k.LINK: """
        nr nrid no number numbri numbril numbrile numbrit numbrid numbritel numbreid numero nummer nummern num номер номеру on is
        at us me meile mulle või ja or and und och kodus kodu tööl töö e int kl the our your
    """,
    k.ADDRESS: """
        ip ips ipv4 ipv6 ipt ipd aadress* address* adress* addr server* serveri* host hosti hosts hostname* dns ping ssh gateway*
        proxy* client* klient* klien* remote peer router* ruuter* resolver* nameserver* nimeserver* traceroute telnet whois lüüs*
        arvuti* host* адрес* сервер* osoite* osoitte*
    """,
    k.NUMBERING: """
        v ver vers versi* versj* release* rel build* firmware püsivara* punkt* p pp alap* lg lõi* jagu jao jaos jaotis* peatük* ptk
        section* sec sect chapter* clause* art artik* articl* tabel* table* joonis* figure* fig lisa* appendix annex* paragra* osa
        eq theorem* lemma* rev revision* update* patch* upgrade* редакц* верси* пункт* isbn issn nõude* samm* step* ülesan* näide*
    """,
    k.CARD: """
        card* cards kaart* kaardi* krediitkaart* krediitkaardi* deebetkaart* pangakaart* pangakaardi* visa mastercard* maestro
        amex карт* kort kortti* kortin* luottokort* kreditkarte* karte kredītkart*
    """,
    k.UNIT: """
        eur euro* eurot kroon* kr usd tk tükk* inimes* miljon* million* mln miljard* milliard* dollar* rubl* руб* tonni km krooni
        votes häält bytes baiti people elanik* kg
    """,
}


@cache
def words() -> np.ndarray:
    """Open-addressing table, uint64 (a power of two), read-only: k.key_of(word) | roles of the word | roles of all it begins << 8.

    The kernels fold the case of ASCII letters only, so a word with others is in it in lower case, with a capital, in capitals.
    """
    entries: dict[int, int] = {}
    for role, listed in [*((role, text.split()) for role, text in WORDS.items()), (k.TLD, tlds())]:
        for word in listed:
            stem = word.removesuffix("*")
            for form in {stem, stem.capitalize(), stem.upper()}:
                key = k.key_of(form)
                entries[key] = entries.get(key, 0) | (role << 8 if word.endswith("*") else role)
    size = 1 << (4 * len(entries)).bit_length()
    table = np.zeros(size, np.uint64)
    for key, roles in sorted(entries.items()):
        slot = key >> 16 & (size - 1)
        while table[slot]:
            slot = (slot + 1) & (size - 1)
        table[slot] = key | roles
    table.flags.writeable = False
    return table


def tlds() -> list[str]:
    lines = Path(__file__).with_name("tlds.txt").read_text(encoding="utf-8").split("\n")
    return [name for line in lines if not line.startswith("#") for name in line.split()]
