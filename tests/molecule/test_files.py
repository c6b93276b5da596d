"""Files of molecules: every format comes in, hostile ones end in one line, and nothing is repaired on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from rdkit import Chem

from domains.common.errors import BadInput
from domains.common.limits import MoleculeLimits
from domains.molecule.chemistry import canonical_smiles, has_space, sanitised
from domains.molecule.files import Record, read_molecules, read_smarts, read_smiles
from tests.molecule.conftest import embedded

METHANOL_MOL2 = """@<TRIPOS>MOLECULE
methanol
 6 5 0 0 0
SMALL
GASTEIGER

@<TRIPOS>ATOM
      1 C1  0.00  0.00  0.00 C.3 1 LIG 0.0
      2 O1  1.42  0.00  0.00 O.3 1 LIG 0.0
      3 H1 -0.36  1.03  0.00 H   1 LIG 0.0
      4 H2 -0.36 -0.51  0.89 H   1 LIG 0.0
      5 H3 -0.36 -0.51 -0.89 H   1 LIG 0.0
      6 H4  1.74  0.90  0.00 H   1 LIG 0.0
@<TRIPOS>BOND
 1 1 2 1
 2 1 3 1
 3 1 4 1
 4 1 5 1
 5 2 6 1
"""


def block(smiles: str) -> str:
    return Chem.MolToMolBlock(embedded(smiles))


def xyz(smiles: str, comment: str = "") -> str:
    molecule = embedded(smiles)
    rows = [
        f"{atom.GetSymbol()} {x:.4f} {y:.4f} {z:.4f}"
        for atom, (x, y, z) in zip(molecule.GetAtoms(), molecule.GetConformer().GetPositions(), strict=True)
    ]
    return "\n".join([str(len(rows)), comment, *rows]) + "\n"


def read(tmp_path: Path, name: str, text: str | bytes, **limits: int) -> list[Record]:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_molecules(path, "file", MoleculeLimits(**limits))


def names(records: list[Record]) -> list[str]:
    found = [sanitised(record.molecule) for record in records]
    return [canonical_smiles(molecule) if molecule is not None else "" for molecule in found]


@pytest.fixture(scope="module")
def sdf() -> str:
    return "".join(
        block(smiles).replace("\n     RDKit", f"{smiles}\n     RDKit", 1) + f"> <logP>\n{place}\n\n$$$$\n"
        for place, smiles in enumerate(("CCO", "c1ccccc1", "[NH3+]CC(=O)[O-]"))
    )


# ---------------------------------------------------------------- every format


def test_sdf_with_properties_charges_and_space(tmp_path: Path, sdf: str) -> None:
    records = read(tmp_path, "a.sdf", sdf)
    assert names(records) == ["CCO", "c1ccccc1", "[NH3+]CC(=O)[O-]"]
    assert [record.properties["logP"] for record in records] == ["0", "1", "2"]
    assert [record.name for record in records] == ["CCO", "c1ccccc1", "[NH3+]CC(=O)[O-]"]
    assert all(record.molecule is not None and has_space(record.molecule) for record in records)
    windows = read(tmp_path, "b.sdf", sdf.replace("\n", "\r\n"))
    assert names(windows) == names(records)
    v3000 = Chem.MolToV3KMolBlock(embedded("CCO"))
    assert names(read(tmp_path, "c.mol", v3000)) == ["CCO"]


def test_the_other_formats(tmp_path: Path) -> None:
    assert names(read(tmp_path, "a.mol", block("CC#N"))) == ["CC#N"]
    assert names(read(tmp_path, "a.mol2", METHANOL_MOL2 * 2)) == ["CO", "CO"]
    frames = xyz("CCO", "first") + xyz("c1cc[nH]c1") + xyz("C[NH3+]", "charge=+1")
    records = read(tmp_path, "a.xyz", frames)
    assert names(records) == ["CCO", "c1cc[nH]c1", "C[NH3+]"] and records[0].name == "first"
    records = read(tmp_path, "a.smi", "smiles name\nCCO ethanol of mine\n\n# no\nc1ccccc1\tbenzene\n")
    assert [(record.name, record.place) for record in records] == [("ethanol of mine", 1), ("benzene", 2)]
    table = 'Name;SMILES;pIC50\n"a; b";CCO;6.5\nx;CCN;\n'
    records = read(tmp_path, "a.csv", table)
    assert names(records) == ["CCO", "CCN"]
    assert records[0].name == "a; b" and records[0].properties == {"pIC50": "6.5"}


def test_salts_isotopes_stereo_and_radicals_come_in_as_stated(tmp_path: Path) -> None:
    records = read(tmp_path, "a.smi", "[Na+].[Cl-]\n[13CH4]\nC[C@H](O)F\n[CH3]\n[2H]O[2H]\n")
    molecules = [record.molecule for record in records]
    assert all(molecule is not None for molecule in molecules)
    atoms = [molecule.GetAtomWithIdx(0) for molecule in molecules if molecule is not None]
    assert atoms[0].GetFormalCharge() == 1 and atoms[1].GetIsotope() == 13 and atoms[4].GetIsotope() == 2
    assert molecules[2] is not None and "@" in Chem.MolToSmiles(molecules[2])


def test_what_is_wrong_keeps_its_place_and_says_why(tmp_path: Path) -> None:
    records = read(tmp_path, "a.smi", "CCO\nC1CC\nhello world\n*CC\n[Zz]\nCC(C)(C)(C)C\n")
    assert [record.molecule is None for record in records] == [False, True, True, True, True, False]
    assert records[1].reason == "is no SMILES: 'C1CC'"
    assert "placeholder" in records[3].reason
    assert sanitised(records[5].molecule) is None  # read as stated; the evaluator calls it invalid


# ---------------------------------------------------------------- hostile files


def one_atom(symbol: str) -> str:
    counts = "  1  0  0  0  0  0  0  0  0  0999 V2000"
    return f"a\n\n\n{counts}\n    0.0000    0.0000    0.0000 {symbol:3} 0  0\nM  END\n"


HOSTILE = [
    ("empty.sdf", "", "the file is empty"),
    ("blank.smi", "\n\n", "holds no molecule"),
    ("noise.sdf", b"\x00\x01\x02" * 500, "is no text"),
    ("zip.sdf", b"\x1f\x8b\x08" + b"\0" * 50, "is compressed; unpack it first"),
    ("picture.sdf", b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "is no text"),
    ("short.sdf", "a\n\n\n", "is cut off"),
    ("words.sdf", "hello\nthere\nmy\nfriend\nM  END\n$$$$\n", "counts line"),
    ("long.sdf", "a\n\n\n999999  0  0  0  0  0  0  0  0999 V2000\nM  END\n", "999"),
    ("lies.sdf", "a\n\n\n 20 20  0  0  0  0  0  0  0  0999 V2000\nM  END\n$$$$\n", "is shorter"),
    ("minus.sdf", "a\n\n\n -5 -1  0  0  0  0  0  0  0  0999 V2000\nM  END\n$$$$\n", "is shorter"),
    ("v3.sdf", "a\n\n\n  0  0  0     0  0     999 V3000\nM  V30 COUNTS 99999999 0 0 0 0\nM  END\n", "99,999,999"),
    ("query.sdf", one_atom("Q"), "atom"),
    ("element.sdf", one_atom("Zz"), ""),
    ("element.xyz", "1\n\nXx 0 0 0\n", "unknown element 'Xx'"),
    ("infinite.xyz", "1\n\nC inf 0 0\n", "no numbers"),
    ("nan.xyz", "2\n\nH 0 0 0\nH nan 0 0\n", "no numbers"),
    ("letters.xyz", "two\n\nH 0 0 0\n", "must be a number of atoms"),
    ("short.xyz", "5\n\nH 0 0 0\n", "has 1 lines"),
    ("minus.xyz", "-1\n\nH 0 0 0\n", "states -1 atoms"),
    ("huge.xyz", "99999999999999\n\nH 0 0 0\n", "99,999,999,999,999 atoms"),
    ("radical.xyz", "4\n\nC 0 0 0\nH 1.09 0 0\nH -.5 .95 0\nH -.5 -.95 0\n", "cannot be told"),
    ("counts.mol2", "@<TRIPOS>MOLECULE\nx\nmany\n", "counts"),
    ("huge.mol2", "@<TRIPOS>MOLECULE\nx\n 99999999 1\n", "99,999,999 atoms"),
    ("none.mol2", "hello\n", "holds no molecule"),
    ("column.csv", "name,town\nAnn,Bern\n", "no column of SMILES"),
    ("empty.csv", "smiles\n", "holds no molecule"),
    ("bad.csv", "smiles\nfoo\nbar\n", "molecule 1 is no SMILES: 'foo'"),
    ("chain.smi", "C" * 5000 + "\n", "has 5,000 atoms and at most 500 are taken"),
    ("line.smi", "C" * 70_000 + "\n", "line of 70,000 bytes"),
    ("parens.smi", "C" + "(C" * 2000 + ")" * 2000 + "\n", "2,001 atoms"),
    ("open.smi", "(" * 30_000 + "\n", "is no SMILES"),
    ("rings.smi", "C%99" * 400 + "\n", ""),
    ("number.smi", "[999999999999999999999C]\n", ""),
    ("file.pdb", "ATOM\n", "no known format"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "words"), HOSTILE, ids=[name for name, _, _ in HOSTILE])
def test_hostile_files_end_in_one_line(tmp_path: Path, name: str, text: str | bytes, words: str) -> None:
    with pytest.raises(BadInput) as error:
        read(tmp_path, name, text)
    line = str(error.value)
    assert line.startswith("file: ") and words in line
    assert "\n" not in line and len(line) < 300 and line.isprintable() and "Traceback" not in line


def test_five_thousand_atoms_in_an_sdf_are_refused_undecoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atoms = "".join(f"M  V30 {k} C {1.4 * k:.1f} 0 0 0\n" for k in range(1, 5001))
    bonds = "".join(f"M  V30 {k} 1 {k} {k + 1}\n" for k in range(1, 5000))
    text = (
        "chain\n\n\n  0  0  0     0  0            999 V3000\nM  V30 BEGIN CTAB\nM  V30 COUNTS 5000 4999 0 0 0\n"
        f"M  V30 BEGIN ATOM\n{atoms}M  V30 END ATOM\nM  V30 BEGIN BOND\n{bonds}M  V30 END BOND\n"
        "M  V30 END CTAB\nM  END\n"
    )
    monkeypatch.setattr(Chem, "MolFromMolBlock", lambda *_, **__: pytest.fail("RDKit saw it"))
    with pytest.raises(BadInput, match="5,000 atoms and at most 500"):
        read(tmp_path, "chain.sdf", text)


def test_sizes_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at most 1 KB are read"):
        read(tmp_path, "a.smi", "CCO\n" * 1000, bytes=1024)
    with pytest.raises(BadInput, match="more than 10 molecules"):
        read(tmp_path, "a.smi", "CCO\n" * 11, molecules=10)
    many = block("O") + "".join(f"> <p{k}>\n1\n\n" for k in range(9)) + "$$$$\n"
    assert (
        "more than 5 data items"
        in read(tmp_path, "a.sdf", many + block("O") + "$$$$\n", properties=5)[0].reason
    )
    long = block("O") + "> <p>\n" + "x" * 200 + "\n\n$$$$\n" + block("O") + "$$$$\n"
    assert "data item of more than 100" in read(tmp_path, "a.sdf", long, property_bytes=100)[0].reason


def test_hostile_names_and_properties_are_one_plain_line(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>\x1b[31m\u202e"
    text = name + "\n" + block("CCO").split("\n", 1)[1] + "> <=cmd|' /C calc'!A0>\n@SUM(1)\n\x07\n\n$$$$\n"
    (record,) = read(tmp_path, "a.sdf", text)
    assert record.molecule is not None
    assert record.name.isprintable() and "\u202e" not in record.name
    assert all(key.isprintable() and value.isprintable() for key, value in record.properties.items())


def test_rdkit_stays_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, "a.smi", "CCO\nC1CC\nCC(C)(C)(C)C\nc1cccc1\n")
    with pytest.raises(BadInput):
        read_smarts("[[")
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


# ---------------------------------------------------------------- what a person writes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("[", "is no SMARTS"),
        ("C" * 1001, "at most 1,000"),
        ("[$([$([#6])])]" + "[$([#6])]" * 20, "nests more than 20"),
        ("[#6&#7]", "never matches"),
        ("[C;N]", "never matches"),
        ("CC[O&!#8]", "never matches"),
        ("<b>\x1b[31m", "is no SMARTS"),
    ],
)
def test_a_smarts_that_cannot_be_used_is_named(text: str, words: str) -> None:
    with pytest.raises(BadInput, match="smarts: ") as error:
        read_smarts(text)
    assert words in str(error.value) and str(error.value).isprintable()


@pytest.mark.parametrize(
    "text", ["[OX2H]", "[#6,#7]", "[C;!$(C=O)]", "c1ccccc1", "[!#6]", "[C;R1]~[N,O]", "*", "[#6;+]"]
)
def test_a_smarts_that_may_match_is_a_query(text: str) -> None:
    assert read_smarts(text).GetNumAtoms() > 0


def test_a_smiles_that_a_person_wrote() -> None:
    assert read_smiles(" c1ccccc1O ").GetNumAtoms() == 7
    for text, words in [
        ("", "is empty"),
        ("C1CC", "is no SMILES"),
        ("C(C)(C)(C)(C)C", "no possible molecule"),
    ]:
        with pytest.raises(BadInput, match=f"smiles: .*{words}"):
            read_smiles(text)
