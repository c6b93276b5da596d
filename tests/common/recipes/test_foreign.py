"""Settings of AUTOMATIC1111 and ComfyUI are read as far as they map, and hostile ones do no harm."""

from __future__ import annotations

import json
import struct
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.solvers import SOLVERS
from domains.common.errors import BadInput
from domains.common.recipes.foreign import ForeignSettings, parse_comfyui, parse_parameters, read_foreign
from domains.common.recipes.foreign import settings as names
from domains.common.recipes.foreign.pictures import user_comment

PICTURE = Image.fromarray(np.zeros((4, 6, 3), np.uint8))

_PAIRS = (
    "Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 3187456012, Size: 832x1216, "
    "Model hash: 31e35c80fc, Model: sd_xl_base_1.0, VAE hash: 235745af8d, Denoising strength: 0.35, Clip skip: 2, "
    "Hires upscale: 1.5, Hires upscaler: 4x-UltraSharp, "
    'Lora hashes: "brush_v2: 0f2a, other: 77aa", Version: v1.10.1'
)
WEBUI = f"""a lighthouse on a cliff, (storm:1.2), oil painting, <lora:brush_v2:0.7>
Steps: taken one at a time, warm light
Negative prompt: blurry, text,
watermark
{_PAIRS}"""


def test_parameters_of_the_web_ui() -> None:
    found = parse_parameters(WEBUI)
    assert found is not None
    assert found.program == "AUTOMATIC1111"
    assert found.prompt == WEBUI.split("\nNegative prompt:")[0]
    assert found.negative_prompt == "blurry, text,\nwatermark"
    assert (found.steps, found.guidance, found.seed) == (28, 6.5, 3187456012)
    assert (found.width, found.height) == (832, 1216)
    assert (found.sampler, found.solver, found.scheduler, found.grid) == (
        "DPM++ 2M",
        "multistep",
        "Karras",
        "karras",
    )
    assert found.model == "sd_xl_base_1.0"
    assert found.unmapped == [
        "VAE hash: 235745af8d",
        "Denoising strength: 0.35",
        "Clip skip: 2",
        "Hires upscale: 1.5",
        "Hires upscaler: 4x-UltraSharp",
        "Lora hashes: brush_v2: 0f2a, other: 77aa",
        "the prompt asks for adapters (<lora:…>), which stand in it as text",
    ]


@pytest.mark.parametrize(
    ("line", "solver", "grid"),
    [
        ("Sampler: DPM++ 2M Karras", "multistep", "karras"),  # before version 1.9
        ("Sampler: DPM++ 2M SDE Exponential", "multistep-sde", "log-snr"),
        ("Sampler: Euler a", "ancestral", None),
        ("Sampler: Euler, Schedule type: Uniform", "ddim", "uniform"),
        ("Sampler: UniPC, Schedule type: Automatic", "unipc", None),
        ("Sampler: DPM++ 3M SDE", None, None),
        ("Sampler: LCM", "consistency", None),
    ],
)
def test_samplers_by_their_old_and_new_names(line: str, solver: str | None, grid: str | None) -> None:
    found = parse_parameters(f"a cat\nSteps: 20, {line}, CFG scale: 7, Seed: 1, Size: 512x512")
    assert found is not None
    assert (found.solver, found.grid) == (solver, grid)
    assert found.negative_prompt == ""
    assert bool(found.unmapped) == (solver is None)


def test_numbers_out_of_bounds_are_listed_and_not_taken() -> None:
    found = parse_parameters("a\nSteps: 1e9, Sampler: Euler, CFG scale: nan, Seed: -1, Size: 0x99999999")
    assert found is not None
    assert (found.steps, found.guidance, found.seed, found.width, found.height) == (
        None,
        None,
        None,
        None,
        None,
    )
    assert len(found.unmapped) == 4


@pytest.mark.parametrize("text", ["", "a cat", "Steps: 20", "a: b, c: d, e: f", "\n\n", "Negative prompt: x"])
def test_other_texts_are_no_parameters(text: str) -> None:
    assert parse_parameters(text) is None


def graph(**changes: Any) -> dict[str, Any]:
    """The graph of ComfyUI's first example, with nodes changed or added."""
    nodes: dict[str, Any] = {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 156680208700286,
                "steps": 20,
                "cfg": 8.0,
                "sampler_name": "dpmpp_2m",
                "scheduler": "karras",
                "denoise": 1.0,
                "model": ["4", 0],
                "positive": ["6", 0],
                "negative": ["7", 0],
                "latent_image": ["5", 0],
            },
        },
        "4": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "SD1.5\\v1-5-pruned.safetensors"},
        },
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a bottle of galaxies", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "text, watermark", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
    }
    return nodes | changes


def test_a_plain_graph_of_comfyui() -> None:
    found = parse_comfyui(json.dumps(graph()))
    assert found == ForeignSettings(
        program="ComfyUI",
        prompt="a bottle of galaxies",
        negative_prompt="text, watermark",
        steps=20,
        solver="multistep",
        sampler="dpmpp_2m",
        grid="karras",
        scheduler="karras",
        guidance=8.0,
        seed=156680208700286,
        width=512,
        height=768,
        model="v1-5-pruned",
        unmapped=[],
    )


def test_a_graph_of_several_passes_with_adapters_and_controls() -> None:
    nodes = graph()
    nodes["3"]["inputs"] |= {"model": ["10", 0], "positive": ["11", 0], "seed": ["20", 0], "steps": ["21", 0]}
    nodes |= {
        "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "ink.safetensors", "model": ["4", 0]}},
        "11": {"class_type": "ControlNetApply", "inputs": {"conditioning": ["6", 0], "image": ["12", 0]}},
        "12": {
            "class_type": "LoadImage",
            "inputs": {"image": "../../etc/passwd"},
            "is_changed": [float("nan")],
        },
        "13": {"class_type": "LatentUpscale", "inputs": {"samples": ["3", 0], "width": 1024, "height": 1536}},
        "14": {
            "class_type": "KSampler",
            "inputs": {**nodes["3"]["inputs"], "steps": 9, "denoise": 0.5, "latent_image": ["13", 0]},
        },
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["14", 0], "vae": ["4", 2]}},
        "20": {"class_type": "PrimitiveInt", "inputs": {"value": 77}},
        "21": {"class_type": "PrimitiveInt", "inputs": {"value": 33}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["22", 0], "clip": ["4", 1]}},
        "22": {"class_type": "String Literal", "inputs": {"string": "an ink drawing"}},
    }
    found = parse_comfyui(json.dumps(nodes))
    assert found is not None
    assert (found.seed, found.steps, found.prompt) == (77, 33, "an ink drawing")
    assert (found.width, found.height, found.model) == (512, 768, "v1-5-pruned")
    assert found.unmapped == [
        "ControlNetApply on the way to the prompt",
        "LoraLoader ink.safetensors",
        "a further pass (node 14, KSampler)",
    ]


def test_a_graph_of_custom_samplers() -> None:
    nodes = {
        "1": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["2", 0],
                "guider": ["3", 0],
                "sampler": ["4", 0],
                "sigmas": ["5", 0],
                "latent_image": ["6", 0],
            },
        },
        "2": {"class_type": "RandomNoise", "inputs": {"noise_seed": 42}},
        "3": {"class_type": "BasicGuider", "inputs": {"model": ["7", 0], "conditioning": ["8", 0]}},
        "4": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "5": {
            "class_type": "BasicScheduler",
            "inputs": {"scheduler": "beta", "steps": 8, "denoise": 0.6, "model": ["7", 0]},
        },
        "6": {
            "class_type": "EmptySD3LatentImage",
            "inputs": {"width": 1024, "height": 1024, "batch_size": 4},
        },
        "7": {
            "class_type": "UNETLoader",
            "inputs": {"unet_name": "flux1-dev.sft", "weight_dtype": "default"},
        },
        "8": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["9", 0]}},
        "9": {
            "class_type": "CLIPTextEncodeFlux",
            "inputs": {"clip_l": "a fox", "t5xxl": "a fox in snow", "clip": ["10", 0]},
        },
    }
    found = parse_comfyui(json.dumps(nodes))
    assert found is not None
    assert (found.prompt, found.seed, found.steps, found.solver) == ("a fox", 42, 8, "ddim")
    assert (found.model, found.guidance, found.grid) == ("flux1-dev", None, None)
    assert found.unmapped == [
        "scheduler 'beta' has no counterpart",
        "denoising strength 0.6",
        "distilled guidance 3.5",
        "a batch of 4",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"1": 2}',
        '{"1": {"class_type": "KSampler"}}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 5000,
    ],
)
def test_other_texts_are_no_graphs(text: str) -> None:
    assert parse_comfyui(text) is None


def test_graphs_that_turn_in_circles_end() -> None:
    nodes = graph()
    nodes["3"]["inputs"] |= {
        "model": ["3", 0],
        "positive": ["6", 0],
        "latent_image": ["3", 0],
        "seed": ["20", 0],
    }
    nodes["6"]["inputs"] = {"conditioning": ["11", 0]}
    nodes["11"] = {"class_type": "X", "inputs": {"conditioning": ["6", 0], "text": ["11", 0]}}
    nodes["20"] = {"class_type": "Y", "inputs": {"seed": ["20", 0]}}
    found = parse_comfyui(json.dumps(nodes))
    assert found is not None
    assert found.seed is None
    assert found.prompt == ""


def test_long_graphs_and_texts_cost_little() -> None:
    chain = {
        str(i): {
            "class_type": "KSampler",
            "inputs": {"latent_image": [str(i + 1), 0], "sampler_name": "euler"},
        }
        for i in range(4900)
    }
    started = time.process_time()
    found = parse_comfyui(json.dumps(chain))
    assert found is not None
    assert len(found.unmapped) <= 100
    for text in (
        "a:" * 100_000,
        '"' * 200_000,
        "x" * 300_000,
        'a: "' + "\\" * 200_000,
        "Steps: 1, " * 30_000,
    ):
        parse_parameters("p\n" + text)
    assert time.process_time() - started < 5


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([["3", 0], ["6", 0], ["5", 0]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150)
@given(
    changes=st.dictionaries(
        st.sampled_from(list(graph())),
        st.dictionaries(
            st.sampled_from(
                [*graph()["3"]["inputs"], "text", "width", "ckpt_name", "samples", "conditioning", "guider"]
            ),
            VALUES,
            max_size=5,
        ),
        max_size=4,
    )
)
def test_any_values_in_a_graph_are_borne(changes: dict[str, dict[str, Any]]) -> None:
    nodes = graph()
    for name, inputs in changes.items():
        nodes[name]["inputs"].update(inputs)
    check(parse_comfyui(json.dumps(nodes)))


@settings(max_examples=150)
@given(text=st.text(max_size=300), line=st.text(alphabet='Steps: ,"\\0123xSedNgativ\n', max_size=200))
def test_any_text_is_borne(text: str, line: str) -> None:
    check(parse_parameters(text))
    check(parse_parameters(f"{text}\nSteps: 3, Seed: 4, {line}"))
    check(parse_comfyui(text))


def check(found: ForeignSettings | None) -> None:
    """Whatever it was read from, settings are within bounds and printable."""
    if found is None:
        return
    json.dumps(asdict(found), allow_nan=False)
    assert found.steps is None or 1 <= found.steps <= 10_000
    assert found.seed is None or 0 <= found.seed < 2**63
    assert found.solver is None or found.solver in SOLVERS
    assert all(len(line) <= names.MAX_NAME and line.isprintable() for line in found.unmapped)


def test_every_solver_that_is_mapped_to_exists() -> None:
    assert set(names.SOLVERS.values()) <= set(SOLVERS)
    assert set(names.GRIDS.values()) == {"karras", "log-snr", "uniform"}


# ---------------------------------------------------------------- files


def test_a_png_of_either_program(tmp_path: Path) -> None:
    for name, text in (
        ("parameters", WEBUI),
        ("parameters", WEBUI.replace("oil", "油")),
        ("prompt", json.dumps(graph())),
    ):
        for packed in (False, True):
            info = PngInfo()
            info.add_text("workflow", "{}")
            info.add_text(name, text, zip=packed)
            PICTURE.save(tmp_path / "a.png", pnginfo=info)
            assert read_foreign(tmp_path / "a.png") == (parse_parameters(text) or parse_comfyui(text))


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
def test_exif_of_jpeg_and_webp(tmp_path: Path, suffix: str, encoding: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\x00" + WEBUI.encode(encoding)
    PICTURE.save(tmp_path / f"a{suffix}", exif=exif)
    assert read_foreign(tmp_path / f"a{suffix}") == parse_parameters(WEBUI)


def test_files_without_settings(tmp_path: Path) -> None:
    for suffix in ("png", "jpg", "webp", "gif"):
        PICTURE.save(tmp_path / f"a.{suffix}")
        assert read_foreign(tmp_path / f"a.{suffix}") is None
    (tmp_path / "a.txt").write_text(WEBUI)
    assert read_foreign(tmp_path / "a.txt") is None


def test_a_text_that_unzips_to_too_much_is_not_read(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("prompt", json.dumps(graph()) + " " * (64 * 2**20), zip=True)
    PICTURE.save(tmp_path / "a.png", pnginfo=info)
    assert (tmp_path / "a.png").stat().st_size < 100_000
    assert read_foreign(tmp_path / "a.png") is None


@settings(max_examples=200)
@given(data=st.data())
def test_damaged_exif_is_borne(data: st.DataObject) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\x00" + WEBUI.encode("utf-16-be")
    raw = bytearray(exif.tobytes()[6:])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 60))
        raw[at : at + 1] = data.draw(st.binary(min_size=1, max_size=4))
    text = user_comment(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    assert text is None or len(text) <= len(raw)


def test_exif_of_many_entries_ends() -> None:
    raw = struct.pack("<4sIH", b"II*\x00", 8, 65_535) + struct.pack("<HHII", 0x8769, 4, 1, 8) * 70_000
    assert user_comment(raw) is None


def test_a_cut_picture_is_bad_input(tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-20])
    with pytest.raises(BadInput, match="artifact: the picture is cut off"):
        read_foreign(tmp_path / "a.png")
