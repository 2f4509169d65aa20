"""Writes Sources/Patterns/UnicodeTables.swift: properties of characters that Swift's
standard library doesn't tell. Needs the package `regex`, which brings the Unicode database along:

    pip install regex && python3 scripts/unicode_tables.py
"""

import pathlib
import unicodedata

import regex

TARGET = pathlib.Path(__file__).parent.parent / "Sources/Patterns/UnicodeTables.swift"
EVERY = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF)

# Name in ISO 15924, then as Unicode spells it.
SCRIPTS = """Adlm Adlam;Aghb Caucasian_Albanian;Ahom Ahom;Arab Arabic;Armi Imperial_Aramaic;
Armn Armenian;Avst Avestan;Bali Balinese;Bamu Bamum;Bass Bassa_Vah;Batk Batak;Beng Bengali;
Bhks Bhaiksuki;Bopo Bopomofo;Brah Brahmi;Brai Braille;Bugi Buginese;Buhd Buhid;Cakm Chakma;
Cans Canadian_Aboriginal;Cari Carian;Cham Cham;Cher Cherokee;Chrs Chorasmian;Copt Coptic;
Cpmn Cypro_Minoan;Cprt Cypriot;Cyrl Cyrillic;Deva Devanagari;Diak Dives_Akuru;Dogr Dogra;
Dsrt Deseret;Dupl Duployan;Egyp Egyptian_Hieroglyphs;Elba Elbasan;Elym Elymaic;Ethi Ethiopic;
Gara Garay;Geor Georgian;Glag Glagolitic;Gong Gunjala_Gondi;Gonm Masaram_Gondi;Goth Gothic;
Gran Grantha;Grek Greek;Gujr Gujarati;Gukh Gurung_Khema;Guru Gurmukhi;Hang Hangul;Hani Han;
Hano Hanunoo;Hatr Hatran;Hebr Hebrew;Hira Hiragana;Hluw Anatolian_Hieroglyphs;Hmng Pahawh_Hmong;
Hmnp Nyiakeng_Puachue_Hmong;Hung Old_Hungarian;Ital Old_Italic;Java Javanese;Kali Kayah_Li;
Kana Katakana;Kawi Kawi;Khar Kharoshthi;Khmr Khmer;Khoj Khojki;Kits Khitan_Small_Script;
Knda Kannada;Krai Kirat_Rai;Kthi Kaithi;Lana Tai_Tham;Laoo Lao;Latn Latin;Lepc Lepcha;Limb Limbu;
Lina Linear_A;Linb Linear_B;Lisu Lisu;Lyci Lycian;Lydi Lydian;Mahj Mahajani;Maka Makasar;
Mand Mandaic;Mani Manichaean;Marc Marchen;Medf Medefaidrin;Mend Mende_Kikakui;
Merc Meroitic_Cursive;Mero Meroitic_Hieroglyphs;Mlym Malayalam;Modi Modi;Mong Mongolian;Mroo Mro;
Mtei Meetei_Mayek;Mult Multani;Mymr Myanmar;Nagm Nag_Mundari;Nand Nandinagari;
Narb Old_North_Arabian;Nbat Nabataean;Newa Newa;Nkoo Nko;Nshu Nushu;Ogam Ogham;Olck Ol_Chiki;
Onao Ol_Onal;Orkh Old_Turkic;Orya Oriya;Osge Osage;Osma Osmanya;Ougr Old_Uyghur;Palm Palmyrene;
Pauc Pau_Cin_Hau;Perm Old_Permic;Phag Phags_Pa;Phli Inscriptional_Pahlavi;Phlp Psalter_Pahlavi;
Phnx Phoenician;Plrd Miao;Prti Inscriptional_Parthian;Rjng Rejang;Rohg Hanifi_Rohingya;Runr Runic;
Samr Samaritan;Sarb Old_South_Arabian;Saur Saurashtra;Sgnw SignWriting;Shaw Shavian;Shrd Sharada;
Sidd Siddham;Sind Khudawadi;Sinh Sinhala;Sogd Sogdian;Sogo Old_Sogdian;Sora Sora_Sompeng;
Soyo Soyombo;Sund Sundanese;Sunu Sunuwar;Sylo Syloti_Nagri;Syrc Syriac;Tagb Tagbanwa;Takr Takri;
Tale Tai_Le;Talu New_Tai_Lue;Taml Tamil;Tang Tangut;Tavt Tai_Viet;Telu Telugu;Tfng Tifinagh;
Tglg Tagalog;Thaa Thaana;Thai Thai;Tibt Tibetan;Tirh Tirhuta;Tnsa Tangsa;Todr Todhri;Toto Toto;
Tutg Tulu_Tigalari;Ugar Ugaritic;Vaii Vai;Vith Vithkuqi;Wara Warang_Citi;Wcho Wancho;
Xpeo Old_Persian;Xsux Cuneiform;Yezi Yezidi;Yiii Yi;Zanb Zanabazar_Square;Zinh Inherited;
Zyyy Common"""


def ranges(prop, value):
    found = regex.finditer(rf"\p{{{prop}={value}}}+", EVERY)
    result = []
    for match in found:
        run = match.group()
        start = previous = ord(run[0])
        for character in run[1:]:
            if ord(character) != previous + 1:
                result.append((start, previous))
                start = ord(character)
            previous = ord(character)
        result.append((start, previous))
    return result


DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"


def number(value):
    """Base 32 in the characters of DIGITS; all but the last digit have 32 added."""
    text = DIGITS[value % 32]
    while value := value // 32:
        text = DIGITS[32 + value % 32] + text
    return text


def packed(found):
    text = ""
    last = 0
    for low, high in found:
        text += number(low - last) + number(high - low)
        last = high + 1
    return text


def lines(name, text):
    rows = [text[i : i + 92] for i in range(0, len(text), 92)] or [""]
    return f'  package static let {name} = """\n' + "".join(f"    {row}\n" for row in rows) + '    """\n'


def entries(name, items, comment):
    out = f"  /// {comment}\n  package static let {name} = \"\"\"\n"
    for label, found in items:
        text = f"{label}:{packed(found)}"
        out += "".join(
            f"    {row}\n"
            for row in (
                text[i : i + 92] + ("\\" if i + 92 < len(text) else "")
                for i in range(0, len(text), 92)
            )
        )
    return out + '    """\n\n'


def compositions():
    """Pairs of characters that NFC puts together: first, second, result."""
    result = []
    for code in range(0x110000):
        if 0xD800 <= code <= 0xDFFF or 0xAC00 <= code <= 0xD7A3:
            continue
        parts = unicodedata.decomposition(chr(code))
        if not parts or "<" in parts or " " not in parts:
            continue
        if unicodedata.normalize("NFC", chr(code)) != chr(code):
            continue
        first, second = (int(part, 16) for part in parts.split())
        result.append((first, second))
    return sorted(result)


def main():
    scripts = []
    extensions = []
    for entry in SCRIPTS.replace("\n", "").split(";"):
        short, long = entry.split()
        try:
            own = ranges("Script", long)
        except regex.error:
            continue
        scripts.append((f"{short} {long}", own))
        extended = ranges("Script_Extensions", long)
        if extended != own:
            extensions.append((short, extended))
    bidi = [(name, ranges("Bidi_Class", name)) for name in
            "L R AL AN EN ES CS ET ON BN NSM".split()]
    joining = [(name, ranges("Joining_Type", name)) for name in "L R D T".split()]
    pairs = compositions()
    composed = ""
    last = 0
    for first, second in pairs:
        composed += number(first - last) + number(second)
        last = first
    out = """// Written by scripts/unicode_tables.py. From the Unicode Character Database, © Unicode, Inc.,
// Unicode License V3 (unicode.org/license.txt).

/// Properties of characters that Swift's standard library doesn't tell, packed: see
/// `UnicodeProperties.unpack`.
package enum UnicodeTables {
"""
    out += entries("scripts", scripts, "Script: short and long name, ranges.")
    out += entries("scriptExtensions", extensions, "Script_Extensions, where other than Script.")
    out += entries("bidiClasses", bidi, "Bidi_Class, those that RFC 5893 knows.")
    out += entries("joiningTypes", joining, "Joining_Type.")
    out += entries("compositions", [], "")[:0]
    rows = [composed[i : i + 92] for i in range(0, len(composed), 92)]
    out += "  /// Pairs that NFC composes: distance of the first from the last first, second.\n"
    out += '  static let compositions = """\n'
    out += "".join(f"    {row}" + ("\\\n" if row is not rows[-1] else "\n") for row in rows)
    out += '    """\n}\n'
    TARGET.write_text(out)


main()
