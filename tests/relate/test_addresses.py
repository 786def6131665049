"""Spellings of one address, addresses that stay apart, and url groups in the stage "buckets"."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.relate import addresses
from curate.relate.addresses import same_page
from tests.relate.corpus import corpus


@pytest.mark.parametrize(("page", "spellings"), [
    ("err.ee", ["http://err.ee", "https://www.err.ee/", "HTTP://ERR.EE:80/#top", "//err.ee", "https://a:b@err.ee.:443/?", "www.err.ee",
                "https://err.ee/index.html", "https://err.ee/./x/../Index.HTM?#", "https://err.ee/?utm_source=a&UTM_Medium=b&gclid=1"]),
    ("err.ee/a/b", ["err.ee/a/b", "https://err.ee/a/b/", "https://err.ee/a/%62", "https://err.ee\\a\\b", "https://err.ee/a/b/index.php",
                    "https://err.ee/c/../a/./b", " https://err.ee/a\n/b ", "https://err.ee/a/b;jsessionid=1F?fbclid=x"]),
    ("err.ee/%C3%B5un?q=%C3%B5+1&b=2", ["https://err.ee/õun?q=õ+1&b=2", "https://err.ee/%c3%b5un/?utm_id=1&q=%C3%B5+1&&b=2"]),
    ("xn--un-bka.ee/x", ["https://Õun.ee/x", "http://www.xn--un-bka.ee/x"]),
    ("err.ee:8080/x", ["http://err.ee:8080/x", "http://err.ee:08080/x/"]),
    ("err.ee#!/uudis/1", ["https://err.ee/#!/uudis/1"]), ("err.ee/app#/uudis/1", ["https://err.ee/app/#/uudis/1"]),
    ("[2001:db8::1]/x", ["http://[2001:DB8:0::1]/x", "http://[2001:db8::1]:80/x"]), ("[2001:db8::1]:81/x", ["http://[2001:db8::1]:81/x"]),
    ("www.ee/x", ["http://www.ee/x"]),  # a site called www
])  # fmt: skip
def test_one_page_has_one_spelling(page, spellings):
    assert [same_page(url) for url in spellings] == [page] * len(spellings)
    assert same_page(f"https://{page}") == page


def test_what_servers_may_tell_apart_stays_apart():
    kept = [
        "https://err.ee/a", "https://err.ee/A", "https://err.ee/a?x=1", "https://err.ee/a?x=2", "https://err.ee/a?x=1&y=2",
        "https://err.ee/a?y=2&x=1", "https://err.ee//a", "https://m.err.ee/a", "https://err.ee:8080/a", "https://err.ee/a.html",
        "https://err.ee/a%2Fb", "https://err.ee/a/b", "https://err.ee/a?ref=x", "https://err.ee/myindex.html", "https://err.ee/a#!x",
    ]  # fmt: skip
    assert len({same_page(url) for url in kept}) == len(kept)


@pytest.mark.parametrize("url", [None, "", "mailto:a@err.ee", "readme.md", "http:///x", "http://a b.ee/", "https://"])
def test_what_is_no_address(url):
    assert same_page(url) is None
    keys, has = addresses.hashes([url])
    assert not has[0] and not keys.any()


@given(st.one_of(st.text(), st.builds("http://{}.ee/{}".format, st.sampled_from("ab"), st.text(max_size=20))))
def test_never_raises_and_is_its_own_normal_form(url):
    page = same_page(url)
    if page is not None:
        assert same_page(f"http://{page}") == page


def test_groups_of_one_address(tmp_path):
    texts = {
        "a": ["üks kaks kolm", "neli viis kuus", "seitse kaheksa", "üheksa kümme", "mets"],
        "b": ["muu jutt siin", "veel üks", "üks kaks kolm"],
    }
    urls = {
        "a": ["http://err.ee/x", "https://www.err.ee/x/?utm_source=a", None, "", "http://err.ee/alone"],
        "b": ["err.ee/x#osa", "readme.md", "http://other.ee/"],
    }
    made = corpus(tmp_path, texts, shard_rows=2, dedup={"exact": ["url", "normalised"]}, addresses=urls)
    folder = made.relate().buckets.shard_path("all")
    rows = [row for stage in made.documents.values() for key in stage.keys
            for row in pq.read_table(stage.shard_path(key) / "documents.parquet").to_pylist()]  # fmt: skip
    member, url, component = (np.load(folder / f"{name}.npy") for name in ("member", "url", "component"))
    assert url.dtype == np.int32
    found = {rows[m]["text"]: int(g) for m, g in zip(member, url, strict=True) if rows[m]["source"] == "a"}
    assert found == {"üks kaks kolm": 0, "neli viis kuus": 0}  # nobody else of a shares anything
    assert sorted(url.tolist()) == [-1, 0, 0, 0]  # b: by address, and by text without address group
    assert len(set(component.tolist())) == 1  # the equal text joins the fourth


def test_without_the_key_nothing_is_compared_by_address(tmp_path):
    made = corpus(tmp_path, {"a": ["üks", "kaks"]}, addresses={"a": ["http://err.ee/x", "http://err.ee/x"]})
    relations = made.relate()
    folder = relations.buckets.shard_path("all")
    assert not (folder / "url.npy").exists() and len(np.load(folder / "member.npy")) == 0
