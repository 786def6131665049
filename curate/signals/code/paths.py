"""What the path of a file says: other people's code, data, tests. A path with / in, a verdict out.

After GitHub linguist's vendor.yml and generated.rb (7.30, 2024; MIT), restated in our own words and only as far as they are about
folders and well-known libraries. Case of letters does not matter.
"""

from __future__ import annotations

import re

_VENDORED_FOLDERS = (
    "node_modules bower_components jspm_packages web_modules vendor vendors vendored _vendor third_party third-party thirdparty 3rdparty "
    "3rd-party extern external externals deps godeps carthage pods dist cache .yarn site-packages minified-js"
)
_VENDORED_FILES = re.compile(
    r"(?:jquery|bootstrap|prototype|mootools|dojo|underscore|backbone|d3|three|angular|react(?:-dom)?|vue|ember|handlebars|moment|raphael|"
    r"modernizr|knockout|require|polyfill|html5shiv|respond|highcharts|mathjax|codemirror|tinymce|ckeditor|less|normalize|font-?awesome|"
    r"foundation|semantic|lodash)(?:[.-]\d[\w.-]*)?(?:[.-](?:min|core|custom|bundle|slim))*\.(?:js|css|mjs)"
    r"|(?:jquery|bootstrap)[-.][\w.-]+\.(?:js|css|less|scss)|gradlew(?:\.bat)?|mvnw(?:\.cmd)?|configure|config\.(?:guess|sub)|ltmain\.sh|"
    r"aclocal\.m4|libtool\.m4|install-sh|missing|depcomp|test-driver|py-compile|ez_setup\.py|distribute_setup\.py|waf|"
    r"catch\.hpp|gtest\.h|doctest\.h|stb_\w+\.h|ppport\.h|cpplint\.py|versioneer\.py",
    re.IGNORECASE,
)
_DATA_FOLDERS = "data datasets dataset testdata test-data test_data fixtures fixture"  # what in them is no program
_CATALOGUE_FOLDERS = "__snapshots__ snapshots locale locales translations i18n"  # whatever is in them
_DATA_FILES = re.compile(
    r"package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|composer\.lock|cargo\.lock|poetry\.lock|uv\.lock|pipfile\.lock|"
    r"gemfile\.lock|mix\.lock|go\.sum|flake\.lock|pubspec\.lock|packages\.lock\.json|.*\.(?:snap|lock|map|csv|tsv|po|pot|svg)",
    re.IGNORECASE,
)
_TEST_FOLDERS = "test tests testing spec specs __tests__ unittests t e2e"
_TEST_FILES = re.compile(
    r"(?:test|tests|spec|conftest)[_-].*\.\w+|.*[_.-](?:test|tests|spec|specs|unittest)\.\w+|conftest\.py|tests?\.\w+|.*(?:Test|Tests|Spec)\.(?:java|kt|cs|scala|swift|php|groovy)"
)


def _folders(names: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|/)(?:{'|'.join(re.escape(name) for name in names.split())})/", re.IGNORECASE)


_IN_VENDORED, _IN_TESTS = _folders(_VENDORED_FOLDERS), _folders(_TEST_FOLDERS)
_IN_DATA, _IN_CATALOGUE = _folders(_DATA_FOLDERS), _folders(_CATALOGUE_FOLDERS)


def is_vendored_path(path: str) -> bool:
    """Other people's code, copied in."""
    return bool(_IN_VENDORED.search(path) or _VENDORED_FILES.fullmatch(_name(path)))


def is_data_path(path: str, is_code: bool) -> bool:
    """A lock file, a snapshot, a catalogue of translations, or what is no program in a folder of data."""
    return bool(_DATA_FILES.fullmatch(_name(path)) or _IN_CATALOGUE.search(path) or (not is_code and _IN_DATA.search(path)))


def is_test_path(path: str) -> bool:
    return bool(_IN_TESTS.search(path) or _TEST_FILES.fullmatch(_name(path)))


def _name(path: str) -> str:
    return path.rpartition("/")[2]
