"""Mathematics survives extraction: what browsers render comes out as LaTeX between dollars."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html as parser

from curate.sources.web import maths
from curate.sources.web.mathml import convert, latex
from curate.sources.web.page import page

PROSE = "<p>Siin on pikk lõik, mis räägib valemist ja sellest, kuidas seda lugeda ning mõista ilma pildita.</p>" * 3


def text(body: str, head: str = "", extractor: str = "trafilatura") -> str:
    document = f"<html><head>{head}</head><body><article><h1>Valemid</h1>{PROSE}{body}{PROSE}</article></body></html>"
    return str(page({"html": document, "extractor": extractor})["text"])


FORMS = {
    "annotation": ("<math><semantics><mi>x</mi><annotation encoding='application/x-tex'>{\\displaystyle x^{2}}</annotation></semantics></math>",
                   "$x^{2}$"),
    "alttext": ("<math alttext='\\frac{a}{b}'><mfrac><mi>a</mi><mi>b</mi></mfrac></math>", "$\\frac{a}{b}$"),
    "mathml": ("<math><msup><mi>e</mi><mrow><mi>i</mi><mi>π</mi></mrow></msup><mo>=</mo><mo>-</mo><mn>1</mn></math>", "$e^{i\\pi}=-1$"),
    "prefixed": ("<m:math xmlns:m='http://www.w3.org/1998/Math/MathML'><m:mi>α</m:mi></m:math>", "$\\alpha$"),
    "wikipedia": ("<span class='mwe-math-element'><span class='mwe-math-mathml-inline' style='display: none;'>"
                  "<math alttext='{\\displaystyle p_{ij}}'><mi>p</mi></math></span>"
                  "<img class='mwe-math-fallback-image-inline' alt='p_{ij}' src='x.svg'></span>", "$p_{ij}$"),
    "old wikipedia": ("<img class='tex' alt='\\sqrt{2}' src='a.png'>", "$\\sqrt{2}$"),
    "wordpress": ("<img src='https://s0.wp.com/latex.php?latex=x%5E2&bg=ffffff' alt='x^2'>", "$x^2$"),
    "mathjax 2 source": ("<span class='MathJax_Preview'></span><script type='math/tex'>a % it is a\n+ b</script>", "$a + b$"),
    "mathjax 2 rendered": ("<span class='MathJax_Preview'>ab</span><span class='MathJax'><span>𝑎</span><span class='MJX_Assistive_MathML'>"
                           "<math><mi>a</mi></math></span></span><script type='math/tex'>a_0</script>", "$a_0$"),
    "mathjax 3": ("<mjx-container class='MathJax'><mjx-math>𝑎</mjx-math><mjx-assistive-mml><math><mi>a</mi><mo>∈</mo><mi>ℝ</mi></math>"
                  "</mjx-assistive-mml></mjx-container>", "$a\\in\\mathbb{R}$"),
    "katex": ("<span class='katex'><span class='katex-mathml'><math><semantics><mi>y</mi><annotation encoding='application/x-tex'>y_1</annotation>"
              "</semantics></math></span><span class='katex-html' aria-hidden='true'>y1</span></span>", "$y_1$"),
    "pandoc": ("<span class='math inline'>\\(z &lt; 1\\)</span>", "$z < 1$"),
    "data-tex": ("<span class='ztext-math' data-eeimg='1' data-tex='\\hat{y}'>ŷ</span>", "$\\hat{y}$"),
    "latexml": ("<math tex='\\sum_{i}x_{i}' class='ltx_Math'><mo>∑</mo></math>", "$\\sum_{i}x_{i}$"),
}  # fmt: skip


@pytest.mark.parametrize("extractor", ["trafilatura", "resiliparse", "whole"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_inside_a_sentence(form, extractor):
    markup, wanted = FORMS[form]
    assert f"Olgu ({wanted}) antud" in text(
        f"<p>Olgu ({markup}) antud ja edasi on juttu pikalt sellest, mis järgneb.</p>", extractor=extractor
    )


@pytest.mark.parametrize("extractor", ["trafilatura", "resiliparse", "whole"])
def test_displayed_formulas_stand_on_their_own_line(extractor):
    shown = [
        "<div><math display='block'><mi>a</mi><mo>=</mo><mi>b</mi></math></div>",
        "<script type='math/tex; mode=display'>% <![CDATA[\na=b\n%]]></script>",
        "<span class='katex-display'><span class='katex'><math><semantics>"
        "<annotation encoding='application/x-tex'>a=b</annotation></semantics></math></span></span>",
        "<table class='ltx_equation'><tr><td></td><td><math alttext='a=b' display='block'></math></td><td>(1)</td></tr></table>",
        "<p><math><mi>a</mi><mo>=</mo><mi>b</mi></math>.</p>",
    ]
    for markup in shown:
        lines = text(markup, extractor=extractor).split("\n")
        assert any("$$a=b$$" in line and len(line) < 16 for line in lines), markup


def test_sources_in_running_text_only_where_a_renderer_is_loaded():
    raw = "<p>Kui \\(x &lt; y\\) ja \\[z = \\frac{1}{2}\\] siis hind on $5 ja $6, aga koodis <code>\\(a\\)</code> jääb.</p>"
    loaded = text(raw, "<script src='https://cdn.example/mathjax/MathJax.js'></script>")
    assert "Kui $x < y$ ja" in loaded
    assert "$$z = \\frac{1}{2}$$" in loaded
    assert "hind on $5 ja $6" in loaded
    assert "\\(a\\)" in loaded
    assert "Kui \\(x < y\\) ja" in text(raw)


def test_single_dollars_where_the_page_says_so():
    head = "<script>MathJax = {tex: {inlineMath: [['$', '$'], ['\\\\(', '\\\\)']]}};</script>"
    assert "sest $\\alpha + 1$ on" in text("<p>See kehtib, sest $\\alpha + 1$ on arv ja hind on $5 kuni $7.</p>", head)


def test_a_page_that_has_our_token_in_it():
    body = "<p>xmathx00000z on sõna ja <math><mi>q</mi></math> on valem, mida siin pikalt seletatakse veel ja veel.</p>"
    assert "xmathx00000z on sõna ja $q$ on" in text(body)
    assert "xmathx00009z on sõna ja $q$ on" in text(body.replace("xmathx00000z", "&#120;mathx00009z"))


def test_more_formulas_than_five_digits():
    found = maths.Found([maths.Formula("x", False)] * 100_002, "xmathx")
    assert maths.restore(f"a {found.token(100_001)} b", found) == ("a $x$ b", 1)


def test_switched_off():
    document = f"<html><body>{PROSE}<p>Olgu <math alttext='x'><mi>x</mi></math> antud ja edasi.</p></body></html>"
    assert "$x$" not in page({"html": document, "extractor": "whole", "maths": False})["text"]


MATHML = [
    ("<mfrac><mn>1</mn><mn>2</mn></mfrac>", r"\frac{1}{2}"), ("<msqrt><mi>x</mi><mo>+</mo><mn>1</mn></msqrt>", r"\sqrt{x+1}"),
    ("<mroot><mi>x</mi><mn>3</mn></mroot>", r"\sqrt[3]{x}"), ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x_i^2"),
    ("<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>0</mn></mrow><mi>n</mi></munderover><msub><mi>a</mi><mi>i</mi></msub>",
     r"\sum_{i=0}^na_i"),
    ("<munder><mi>lim</mi><mrow><mi>x</mi><mo>→</mo><mi>∞</mi></mrow></munder>", r"\lim_{x\rightarrow\infty}"),
    ("<mover><mi>x</mi><mo>¯</mo></mover>", r"\bar{x}"),
    ("<mover accent='true'><mrow><mi>a</mi><mi>b</mi></mrow><mo>^</mo></mover>", r"\widehat{ab}"),
    ("<mi mathvariant='bold'>x</mi><mi mathvariant='double-struck'>R</mi>", r"\mathbf{x}\mathbb{R}"), ("<mi>𝐀</mi><mi>𝑥</mi>", r"\mathbf{A}x"),
    ("<mi>sin</mi><mo>\u2061</mo><mi>x</mi>", r"\sin x"), ("<mtext>kui </mtext><mi>x</mi>", r"\text{kui }x"),
    ("<mo>(</mo><mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr><mtr><mtd><mn>0</mn></mtd><mtd><mn>1</mn></mtd></mtr></mtable><mo>)</mo>",
     r"\begin{pmatrix}1 & 0 \\ 0 & 1\end{pmatrix}"),
    ("<mo>{</mo><mtable><mtr><mtd><mi>a</mi></mtd></mtr><mtr><mtd><mi>b</mi></mtd></mtr></mtable>", r"\begin{cases}a \\ b\end{cases}"),
    ("<mo>(</mo><mfrac linethickness='0'><mi>n</mi><mi>k</mi></mfrac><mo>)</mo>", r"\binom{n}{k}"),
    ("<mfenced open='[' close=')'><mi>a</mi><mi>b</mi></mfenced>", "[a,b)"),
    ("<mmultiscripts><mi>F</mi><mi>a</mi><mi>b</mi><mprescripts/><mi>c</mi><none/></mmultiscripts>", "{}_cF_a^b"),
    ("<msup><mi>f</mi><mo>′</mo></msup>", "f'"), ("<mo>{</mo><mi>a</mi><mo>}</mo>", r"\{a\}"), ("", ""),
    ("<mover><mover><mrow><mi>a</mi><mi>b</mi></mrow><mo>⏞</mo></mover><mn>2</mn></mover>", r"\overbrace{ab}^2"),
]  # fmt: skip


@pytest.mark.parametrize(("markup", "wanted"), MATHML)
def test_presentation_mathml(markup, wanted):
    assert convert(parser.fromstring(f"<math><mrow>{markup}</mrow></math>")) == wanted


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (r"{\displaystyle {\frac {a}{b}}}", r"{\frac {a}{b}}"), (r"\displaystyle x=1", "x=1"), (r"{\displaystyle a}+{b}", r"{\displaystyle a}+{b}"),
        ("$$ x $$", "x"), (r"\[ x \]", "x"), ("a\n  b", "a b"), (r"50\% % note" + "\nx", r"50\% x"), ("$a$ and $b$", "$a$ and $b$"), ("", ""),
    ],
)  # fmt: skip
def test_cleaned(said, wanted):
    assert maths.cleaned(said) == wanted


def test_deep_mathml_does_not_cost_the_page():
    deep = "<math>" + "<mrow>" * 400 + "<mi>x</mi>" + "</mrow>" * 400 + "</math>"
    assert "Siin on pikk lõik" in text(f"<p>Olgu {deep} antud.</p>")


NAMES = st.sampled_from(["mi", "mo", "mn", "mrow", "mfrac", "msqrt", "mroot", "msub", "msup", "msubsup", "munder", "mover", "munderover", "mtable",
                         "mtr", "mtd", "mtext", "mfenced", "menclose", "semantics", "annotation", "mmultiscripts", "mprescripts",
                         "none", "mspace", "mphantom", "maction", "mlabeledtr"])  # fmt: skip
TREES = st.recursive(
    st.builds(
        lambda n, t: f"<{n}>{t}</{n}>", NAMES, st.sampled_from(["x", "∑", "(", ")", "{", "12", "lim", "", "¯", "\\", "&amp;"])
    ),
    lambda inner: st.builds(lambda n, parts: f"<{n}>{''.join(parts)}</{n}>", NAMES, st.lists(inner, max_size=4)),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_any_mathml(tree):
    assert isinstance(latex(parser.fromstring(f"<math>{tree}</math>")), str)
    page({"html": f"<html><body><p>a <math>{tree}</math> b</p></body></html>", "extractor": "whole"})
