"""Characters and names of mathematics: what MathML writes, and LaTeX's word for it. Tables only."""

from __future__ import annotations

_PAIRS = """
α alpha β beta γ gamma δ delta ε varepsilon ϵ epsilon ζ zeta η eta θ theta ϑ vartheta ι iota κ kappa ϰ varkappa λ lambda μ mu ν nu ξ xi
π pi ϖ varpi ρ rho ϱ varrho σ sigma ς varsigma τ tau υ upsilon φ varphi ϕ phi χ chi ψ psi ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi
Π Pi Σ Sigma Υ Upsilon Φ Phi Ψ Psi Ω Omega µ mu
± pm ∓ mp × times ÷ div · cdot ⋅ cdot ∗ ast ⋆ star ∘ circ • bullet ∙ bullet ⊕ oplus ⊖ ominus ⊗ otimes ⊘ oslash ⊙ odot † dagger ‡ ddagger
∧ wedge ∨ vee ∩ cap ∪ cup ⊎ uplus ⊓ sqcap ⊔ sqcup ∖ setminus ≀ wr ⋄ diamond △ triangle ⊳ triangleright ⊲ triangleleft ▹ triangleright
▷ triangleright ◃ triangleleft ⨿ amalg
≤ leq ≥ geq ≠ neq ≡ equiv ≈ approx ∼ sim ≃ simeq ≅ cong ∝ propto ≪ ll ≫ gg ≺ prec ≻ succ ⪯ preceq ⪰ succeq ⊂ subset ⊃ supset ⊆ subseteq
⊇ supseteq ⊏ sqsubset ⊐ sqsupset ⊑ sqsubseteq ⊒ sqsupseteq ∈ in ∉ notin ∋ ni ⊢ vdash ⊣ dashv ⊨ models ⊥ perp ∥ parallel ∣ mid ∤ nmid
≍ asymp ≐ doteq ⌣ smile ⌢ frown ⋈ bowtie ⩽ leqslant ⩾ geqslant ≲ lesssim ≳ gtrsim ≜ triangleq ⊊ subsetneq ⊋ supsetneq ≔ coloneqq
← leftarrow → rightarrow ↔ leftrightarrow ⇐ Leftarrow ⇒ Rightarrow ⇔ Leftrightarrow ↦ mapsto ⟼ longmapsto ⟵ longleftarrow
⟶ longrightarrow ⟺ Longleftrightarrow ⟹ Longrightarrow ⟸ Longleftarrow ↑ uparrow ↓ downarrow ↕ updownarrow ⇑ Uparrow ⇓ Downarrow
↗ nearrow ↘ searrow ↙ swarrow ↖ nwarrow ↪ hookrightarrow ↩ hookleftarrow ⇀ rightharpoonup ⇁ rightharpoondown ⇌ rightleftharpoons
↼ leftharpoonup ↽ leftharpoondown ↠ twoheadrightarrow ⇝ rightsquigarrow ↝ leadsto
∞ infty ∂ partial ∇ nabla ∀ forall ∃ exists ∄ nexists ∅ emptyset ¬ neg ⊤ top ∠ angle ℏ hbar ℓ ell ℜ Re ℑ Im ℘ wp ℵ aleph ı imath
ȷ jmath ′ prime □ square ◻ square ◇ diamond ♠ spadesuit ♡ heartsuit ♢ diamondsuit ♣ clubsuit ♭ flat ♮ natural ♯ sharp ∴ therefore
∵ because ð eth
… ldots ⋯ cdots ⋮ vdots ⋱ ddots
∑ sum ∏ prod ∐ coprod ∫ int ∬ iint ∭ iiint ∮ oint ⋂ bigcap ⋃ bigcup ⋀ bigwedge ⋁ bigvee ⨁ bigoplus ⨂ bigotimes ⨀ bigodot ⨄ biguplus ⨆ bigsqcup
⟨ langle ⟩ rangle 〈 langle 〉 rangle ⌈ lceil ⌉ rceil ⌊ lfloor ⌋ rfloor ‖ Vert ⟦ llbracket ⟧ rrbracket
"""
_words = _PAIRS.split()
COMMANDS: dict[str, str] = {symbol: "\\" + name for symbol, name in zip(_words[::2], _words[1::2], strict=True)}
COMMANDS |= {"{": r"\{", "}": r"\}", "%": r"\%", "#": r"\#", "&": r"\&", "$": r"\$", "_": r"\_", "\\": r"\backslash", "−": "-", "‐": "-",
             "\u2061": "", "\u2062": "", "\u2063": "", "\u2064": "", "\u200b": "", "\ufeff": "", "\u00a0": "~", "∶": ":", "‵": "'",
             "ℝ": r"\mathbb{R}", "ℕ": r"\mathbb{N}", "ℤ": r"\mathbb{Z}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "ℙ": r"\mathbb{P}",
             "ℋ": r"\mathcal{H}", "ℒ": r"\mathcal{L}", "ℱ": r"\mathcal{F}", "ℬ": r"\mathcal{B}", "ℰ": r"\mathcal{E}",
             "ℳ": r"\mathcal{M}", "ℛ": r"\mathcal{R}", "ℐ": r"\mathcal{I}", "″": "''", "‴": "'''",
             "ⅆ": r"\mathrm{d}", "ⅇ": r"\mathrm{e}", "ⅈ": r"\mathrm{i}"}  # fmt: skip

LIMITS = frozenset("∑∏∐⋂⋃⋀⋁⨁⨂⨀⨄⨆")  # what stands below and above these is written with _ and ^

FUNCTIONS = frozenset(
    [
        "arccos",
        "arcsin",
        "arctan",
        "arg",
        "cos",
        "cosh",
        "cot",
        "coth",
        "csc",
        "deg",
        "det",
        "dim",
        "exp",
        "gcd",
        "hom",
        "inf",
        "ker",
        "lg",
        "lim",
        "liminf",
        "limsup",
        "ln",
        "log",
        "max",
        "min",
        "Pr",
        "sec",
        "sin",
        "sinh",
        "sup",
        "tan",
        "tanh",
    ]
)

VARIANTS = {
    "bold": "mathbf", "bold-italic": "boldsymbol", "double-struck": "mathbb", "script": "mathcal", "bold-script": "mathcal",
    "fraktur": "mathfrak", "bold-fraktur": "mathfrak", "sans-serif": "mathsf", "bold-sans-serif": "mathsf", "monospace": "mathtt",
}  # fmt: skip

OVER = {
    "^": "hat", "ˆ": "hat", "\u0302": "hat", "¯": "bar", "‾": "bar", "\u0304": "bar", "\u0305": "bar", "―": "overline", "_": "overline",
    "→": "vec", "⃗": "vec", "⇀": "vec", "~": "tilde", "˜": "tilde", "∼": "tilde", "\u0303": "tilde", "˙": "dot", ".": "dot", "\u0307": "dot",
    "¨": "ddot", "\u0308": "ddot", "⃛": "dddot", "˘": "breve", "\u0306": "breve", "ˇ": "check", "\u030c": "check", "´": "acute", "`": "grave",
    "⏞": "overbrace", "︷": "overbrace", "←": "overleftarrow", "˚": "mathring",
}  # fmt: skip
WIDE = {"hat": "widehat", "tilde": "widetilde", "bar": "overline", "vec": "overrightarrow"}  # over more than one letter
UNDER = {
    "_": "underline",
    "¯": "underline",
    "‾": "underline",
    "\u0332": "underline",
    "⏟": "underbrace",
    "︸": "underbrace",
    "―": "underline",
}

# characters of the block Mathematical Alphanumeric Symbols: first code point, its command (None: italic, as LaTeX has it anyway)
ALPHABETS = (
    (0x1D400, "mathbf"), (0x1D434, None), (0x1D468, "boldsymbol"), (0x1D49C, "mathcal"), (0x1D4D0, "mathcal"), (0x1D504, "mathfrak"),
    (0x1D538, "mathbb"), (0x1D56C, "mathfrak"), (0x1D5A0, "mathsf"), (0x1D5D4, "mathsf"), (0x1D608, "mathsf"), (0x1D63C, "mathsf"),
    (0x1D670, "mathtt"),
)  # fmt: skip


def latex_of(character: str) -> str:
    """LaTeX's word for one character, which has none in most cases and stays."""
    if (found := COMMANDS.get(character)) is not None:
        return found
    code = ord(character)
    if 0x1D400 <= code < 0x1D6A4:
        start, command = max((a for a in ALPHABETS if a[0] <= code), key=lambda a: a[0])
        index = code - start
        letter = chr(65 + index) if index < 26 else chr(71 + index)
        return f"\\{command}{{{letter}}}" if command else letter
    if 0x1D7CE <= code < 0x1D800:
        return f"\\mathbf{{{(code - 0x1D7CE) % 10}}}" if code < 0x1D7D8 else str((code - 0x1D7CE) % 10)
    if 0x1D6A8 <= code < 0x1D7CB:  # Greek in bold and italic: NFKC gives the plain letter
        import unicodedata

        return COMMANDS.get(unicodedata.normalize("NFKC", character), character)
    return character
