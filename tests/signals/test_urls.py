"""Families url and url_lists: hosts and registered domains, block lists in UT1's form, words, opt-outs; garbage never raises."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.signals import Batch, urls
from curate.signals.urls import lists
from curate.signals.urls.address import address, registered_domain
from tests.real import rows as real_rows


def batch(addresses: list[str | None], extras: list[str | None] | None = None) -> Batch:
    columns = {"url": pa.array(addresses, pa.string()), "extra": pa.array(extras or [None] * len(addresses), pa.large_string())}
    return Batch(columns["url"], np.empty(0), np.empty(0), None, columns)


def listed(tmp_path: Path, block_lists: dict[str, str], addresses: list[str | None], opt_out: str | None = None) -> list[str]:
    for name, body in [*block_lists.items(), ("opt_out", opt_out or "")]:
        (tmp_path / name).write_text(body)
    given = {name: tmp_path / name for name in block_lists}
    measurer = urls.lists_measurer(given, {}, tmp_path / "opt_out" if opt_out else None)
    columns = measurer.measure(batch(addresses))
    return list(columns["opt_out" if opt_out else "url_category"])


@pytest.mark.parametrize(("url", "host", "domain"), [
    ("https://www.ERR.ee/uudised", "www.err.ee", "err.ee"),
    ("http://a.b.co.uk:8080/x", "a.b.co.uk", "b.co.uk"),
    ("https://user:pa@ss@pood.pri.ee?q=1", "pood.pri.ee", "pood.pri.ee"),
    ("https://a.pood.pri.ee./#top", "a.pood.pri.ee", "pood.pri.ee"),
    ("//cdn.err.ee/x.js", "cdn.err.ee", "err.ee"),
    ("https:\\\\www.err.ee\\x", "www.err.ee", "err.ee"),
    (" \thttps://err.\nee/ ", "err.ee", "err.ee"),
    ("https://Õun.ee/", "xn--un-bka.ee", "xn--un-bka.ee"),
    ("https://xn--un-bka.ee", "xn--un-bka.ee", "xn--un-bka.ee"),
    ("https://例え.テスト。jp/", "xn--r8jz45g.xn--zckzah.jp", "xn--zckzah.jp"),
    ("https://%65rr.ee/", "err.ee", "err.ee"),
    ("https://minu.blogspot.com/", "minu.blogspot.com", "blogspot.com"),  # the private part of the list is off
    ("https://x.y.kawasaki.jp/", "x.y.kawasaki.jp", "x.y.kawasaki.jp"),  # *.kawasaki.jp
    ("https://a.city.kawasaki.jp/", "a.city.kawasaki.jp", "city.kawasaki.jp"),  # !city.kawasaki.jp
    ("https://co.uk/", "co.uk", "co.uk"), ("http://ee", "ee", "ee"), ("http://localhost:80/", "localhost", "localhost"),
    ("https://a.b.nosuchtld/", "a.b.nosuchtld", "b.nosuchtld"),
    ("http://127.0.0.1:8080/", "127.0.0.1", "127.0.0.1"), ("http://2130706433/", "2130706433", "2130706433"),
    ("http://1.2.3.0x4/", "1.2.3.0x4", "1.2.3.0x4"),
    ("http://[2001:DB8::0:1]:80/", "2001:db8::1", "2001:db8::1"), ("http://[fe80::1%25eth0]/", "fe80::1", "fe80::1"),
    ("www.err.ee", "www.err.ee", "err.ee"), ("err.ee/uudised", "err.ee", "err.ee"), ("err.ee:80/x", "err.ee", "err.ee"),
])  # fmt: skip
def test_hosts_and_domains(url, host, domain):
    assert address(url)[0] == host and registered_domain(host) == domain


@pytest.mark.parametrize("url", [
    "", " ", "readme.md", "src/readme.md", "docs.v2/readme.md", "mailto:a@err.ee", "urn:isbn:1", "doi:10.1000/182", "file:///etc/x",
    "hard::everardoherrera.com-momento.html", "https://", "http:///x", "http://a b.ee/", "http://a..ee/", "http://.ee/",
    "http://[::1/", "http://[nonsense]/", "http://%00.ee/", "http://" + "a" * 300 + ".ee/", "http://?x", "http://<b>.ee", "://",
])  # fmt: skip
def test_what_names_no_host(url):
    assert address(url) == (None, "")


labels = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(deadline=None)  # the suffix list is loaded once
@example("http://ß\u200d.ee/")
@example("http://a\u2488b.com")
@example("http://xn--a.ee")
@example("http://xn--\x80.ee")
@given(st.one_of(
    st.text(), st.builds("http://{}.{}/{}".format, labels, labels, labels), st.builds("https://{}@{}:{}".format, labels, labels, labels),
    st.builds("http://[{}]".format, labels), st.builds("http://xn--{}.ee".format, labels), st.builds("{}.ee/{}".format, labels, labels),
))  # fmt: skip
def test_nothing_raises_and_hosts_are_clean(url):
    host, rest = address(url)
    assert (host is not None or rest == "") and "#" not in rest
    if host is not None:
        assert re.fullmatch(r"[a-z0-9_.:-]+", host) and not host.endswith(".")
        domain = registered_domain(host)
        assert host == domain or host.endswith("." + domain)
        assert address(f"http://{host}/" if ":" not in host else f"http://[{host}]/")[0] == host
    urls.measure(batch([url]))


def test_the_columns_of_url():
    columns = urls.measure(batch(["https://www.err.ee/1608/x-2", None, "", "nothing here 7"]))
    assert columns["host"] == ["www.err.ee", None, None, None] and columns["domain"] == ["err.ee", None, None, None]
    assert columns["n_url_chars"] == [27, 0, 0, 14] and columns["n_url_digits"] == [5, 0, 0, 1]


def test_a_listed_domain_covers_its_subdomains_and_an_address_what_lies_below(tmp_path):
    spam = "# a comment\nbad.ee\r\n.dots.ee\n*.star.ee\n  spaced.ee  \n\nhttp://scheme.ee/\n10.0.0.1\nport.ee:80\nÕun.ee\n"
    adult = "bad.ee\nwww.site.ee/blog/x\nsite.ee/q?id=1\nmixed.ee/A/\n"
    names = {
        "http://bad.ee": "adult+spam", "http://a.b.bad.ee/x": "adult+spam", "http://notbad.ee": "", "http://bad.ee.com": "",
        "http://dots.ee": "spam", "http://x.star.ee": "spam", "http://spaced.ee": "spam", "http://www.scheme.ee/": "spam",
        "http://10.0.0.1/": "spam", "http://110.0.0.1/": "", "http://port.ee": "spam", "http://xn--un-bka.ee": "spam",
        "http://site.ee/blog/x": "adult", "http://www.site.ee/Blog/X/1": "adult", "http://site.ee/blog/x?p=2": "adult",
        "http://site.ee/blog/xy": "", "http://site.ee/blog": "", "http://sub.site.ee/blog/x": "", "http://site.ee": "",
        "http://site.ee/q?id=1&b=2": "adult", "http://site.ee/q?id=12": "", "http://mixed.ee/a#top": "adult", "": "", None: "",
    }  # fmt: skip
    assert dict(zip(names, listed(tmp_path, {"spam": spam, "adult": adult}, list(names)), strict=True)) == names


def test_folders_in_the_layout_of_ut1_plain_or_packed(tmp_path):
    (tmp_path / "adult").mkdir()
    (tmp_path / "adult" / "domains.gz").write_bytes(gzip.compress(b"bad.ee\n"))
    (tmp_path / "adult" / "urls").write_bytes(b"site.ee/bad\n")
    (tmp_path / "adult" / "usage").write_bytes(b"good.ee\n")  # of UT1, no list
    (tmp_path / "flat.txt").write_bytes(b"bad.ee\nsite.ee/bad\n")
    folder, flat = (urls.lists_measurer({"x": tmp_path / name}, {}, None) for name in ("adult", "flat.txt"))
    given = batch(["http://bad.ee/", "http://site.ee/bad", "http://good.ee/"])
    assert folder.measure(given)["url_category"] == flat.measure(given)["url_category"] == ["x", "x", ""]


def test_settings_follow_contents_and_never_paths(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("bad.ee\n")
    first, second = (urls.lists_measurer({"x": tmp_path / name}, {}, None).settings for name in ("a", "b"))
    assert first == second and str(tmp_path) not in json.dumps(first)
    (tmp_path / "b").write_text("worse.ee\n")
    changed = urls.lists_measurer({"x": tmp_path / "b"}, {}, None)
    assert changed.settings != first and changed.measure(batch(["http://worse.ee"]))["url_category"] == ["x"]
    assert urls.lists_measurer({"y": tmp_path / "a"}, {}, None).settings != first


@pytest.mark.parametrize(("body", "says"), [
    ("||ads.ee^\n", "not a list of domains"), ("! Title: EasyList\n", "not a list"), ("0.0.0.0 ads.ee\n", "not a list"),
])  # fmt: skip
def test_lists_of_another_syntax_are_refused(tmp_path, body, says):
    (tmp_path / "x").write_text(body)
    with pytest.raises(CurateError, match=says):
        urls.lists_measurer({"x": tmp_path / "x"}, {}, None)


def test_missing_lists_and_wrong_categories(tmp_path):
    (tmp_path / "x").write_text("")
    (tmp_path / "broken.gz").write_bytes(b"no gzip")
    for blocked, says in (({"x": tmp_path / "none"}, "no such list"), ({"a+b": tmp_path / "x"}, "category"),
                        ({"opt_out": tmp_path / "x"}, "category"), ({"x": tmp_path / "broken.gz"}, "cannot be read")):  # fmt: skip
        with pytest.raises(CurateError, match=says):
            urls.lists_measurer(blocked, {}, None)
    with pytest.raises(CurateError, match="no such list") as caught:
        urls.lists_measurer({}, {}, tmp_path / "none")
    assert caught.value.where == "urls.opt_out"


def test_words_of_addresses_by_category(tmp_path):
    (tmp_path / "spam").write_text("# words\nCasino\npoker\n")
    (tmp_path / "adult").write_text("sex\ncasino\n")
    measurer = urls.lists_measurer({}, {"spam": tmp_path / "spam", "adult": tmp_path / "adult"}, None)
    given = ["https://casino.ee/Poker/poker-2?x=casino", "https://sussex.ee/sex_a", "https://err.ee", None, "casino"]
    columns = measurer.measure(batch(given))
    assert columns["n_blocked_url_words"].tolist() == [3, 1, 0, 0, 0]
    assert columns["n_spam_url_words"].tolist() == [3, 0, 0, 0, 0] and columns["n_adult_url_words"].tolist() == [1, 1, 0, 0, 0]
    assert [c.name for c in measurer.family.columns][-2:] == ["n_adult_url_words", "n_spam_url_words"]


@pytest.mark.parametrize(("extra", "fields"), [
    (None, []), ("", []), ("[]", []), ('{"note":"robots"}', []), ('"robots: noai"', []),
    ('{"opt_out":true}', ["opt_out"]), ('{"Opt-Out":"yes"}', ["opt_out"]), ('{"opt_out":false}', []), ('{"opt_out":0}', []),
    ('{"robots":"noindex, nofollow"}', ["robots"]), ('{"robots":"index,follow"}', []), ('{"robots":"all"}', []),
    ('{"robots":"none"}', ["robots"]), ('{"robots":1}', []), ('{"robots":"disallowed"}', ["robots"]),
    ('{"tdm_reservation":1}', ["tdm_reservation"]), ('{"tdm-reservation":"1"}', ["tdm_reservation"]), ('{"tdm_reservation":0}', []),
    ('{"headers":{"X-Robots-Tag":["GPTBot: noai, noimageai","all"]}}', ["x_robots_tag"]),
    ('{"a":[{"robots":"noml"}],"opt_out":1}', ["opt_out", "robots"]),
])  # fmt: skip
def test_what_a_record_reserves(extra, fields):
    assert urls.reserved(extra) == fields


def test_opt_out_by_domain_and_by_record(tmp_path):
    assert listed(tmp_path, {}, ["https://blog.err.ee", "https://delfi.ee"], "err.ee\n") == ["list", ""]
    (tmp_path / "domains").write_text("err.ee\n")
    measurer = urls.lists_measurer({"spam": tmp_path / "domains"}, {}, tmp_path / "domains")
    columns = measurer.measure(batch(["https://err.ee", None], ['{"robots":"noai"}', '{"opt_out":1}']))
    assert columns["opt_out"] == ["list+robots", "opt_out"] and columns["url_category"] == ["spam", ""]


def test_the_largest_mask():
    """64 lists at once: each its own bit."""
    keys = np.arange(64, dtype=np.uint64)
    parts = [(keys[i : i + 1], i) for i in range(64)] + [(keys[:1], 63)]
    merged, masks = lists._merged(parts)
    assert merged.tolist() == list(range(64)) and masks.tolist() == [1 | 1 << 63, *(1 << i for i in range(1, 64))]


def test_ut1_over_the_addresses_of_real_texts(data):
    folder = data / "lists" / "ut1"
    files = {path.name.removesuffix("_domains.txt.gz"): path for path in sorted(folder.glob("*.gz"))}
    assert len(files) == 9
    measurer = urls.lists_measurer(files, {}, None)
    domains = {name: [d.strip() for d in gzip.decompress(path.read_bytes()).decode().split("\n") if d.strip()]
               for name, path in files.items()}  # fmt: skip
    by_set = {name: set(found) for name, found in domains.items()}
    addresses = [row["url"] for source in ("web", "en", "wiki", "math") for row in real_rows(data, source, 300)]
    for found in domains.values():
        addresses += [f"https://www.{found[i]}/x" for i in range(0, len(found), 97)]
    columns = measurer.measure(batch(addresses))
    for url, category in zip(addresses, columns["url_category"], strict=True):
        host = address(url)[0]
        suffixes = {".".join(host.split(".")[i:]) for i in range(host.count(".") + 1)} if host else set()
        assert category == "+".join(name for name in sorted(files) if suffixes & by_set[name]), url
    assert {c for c in columns["url_category"] if c}.issuperset({"gambling", "warez"})
    real = measurer.measure(batch([row["url"] for row in real_rows(data, "web", 300) + real_rows(data, "en", 300)]))
    assert set(real["url_category"]) == {""}  # courts, agencies, encyclopedias
