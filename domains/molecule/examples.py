"""Example input: molecules of every day, as SMILES, with a salt and three mistakes among them."""

from __future__ import annotations

from pathlib import Path

from domains.common.cache import cache_folder
from domains.common.files import atomic_write_bytes

EVERYDAY = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "nicotine": "CN1CCC[C@H]1c1cccnc1",
    "vanillin": "COc1cc(C=O)ccc1O",
    "menthol": "CC(C)[C@@H]1CC[C@@H](C)C[C@H]1O",
    "limonene": "CC1=CC[C@@H](CC1)C(C)=C",
    "dopamine": "NCCc1ccc(O)c(O)c1",
    "serotonin": "NCCc1c[nH]c2ccc(O)cc12",
    "histamine": "NCCc1cnc[nH]1",
    "adrenaline": "CNC[C@H](O)c1ccc(O)c(O)c1",
    "glucose": "OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@@H]1O",
    "citric acid": "OC(=O)CC(O)(CC(=O)O)C(=O)O",
    "vitamin C": "OC[C@H](O)[C@H]1OC(=O)C(O)=C1O",
    "capsaicin": "COc1cc(CNC(=O)CCCC/C=C/C(C)C)ccc1O",
    "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "theobromine": "Cn1cnc2c1c(=O)[nH]c(=O)n2C",
    "metformin": "CN(C)C(=N)NC(N)=N",
    "penicillin G": "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "diazepam": "CN1c2ccc(Cl)cc2C(=NCC1=O)c1ccccc1",
    "saccharin": "O=C1NS(=O)(=O)c2ccccc12",
    "camphor": "CC1(C)C2CCC1(C)C(=O)C2",
    "sodium benzoate": "[Na+].[O-]C(=O)c1ccccc1",
    "five bonds at one carbon": "CC(C)(C)(C)C",
    "a ring left open": "C1CCCC",
    "no Kekulé structure": "c1cccc1",
}


def everyday_molecules() -> Path:
    """A CSV file with the columns `name` and `smiles`, in the person's cache folder; the bytes are always the same."""
    path = cache_folder("examples") / "everyday_molecules.csv"
    text = "name,smiles\n" + "".join(f"{name},{smiles}\n" for name, smiles in EVERYDAY.items())
    if not path.is_file() or path.read_bytes() != text.encode():
        atomic_write_bytes(path, text.encode())
    return path
