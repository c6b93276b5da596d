"""The words of the caption grammar, in English and Chinese: for each value how it may be said, the usual way first."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]

# value -> (singular, plural) in English
SHAPE_NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "cube": (("cube", "cubes"), ("block", "blocks"), ("box", "boxes")),
    "ball": (("ball", "balls"), ("sphere", "spheres")),
    "cone": (("cone", "cones"),),
    "cylinder": (("cylinder", "cylinders"),),
    "star": (("star", "stars"),),
    "ring": (("ring", "rings"), ("hoop", "hoops")),
    "heart": (("heart", "hearts"),),
    "cross": (("cross", "crosses"), ("plus sign", "plus signs")),
}
ANY_NOUN = (("object", "objects"), ("thing", "things"), ("shape", "shapes"))

ADJECTIVES: dict[str, dict[str, tuple[str, ...]]] = {
    "colour": {
        "red": ("red",),
        "orange": ("orange",),
        "yellow": ("yellow",),
        "green": ("green",),
        "cyan": ("cyan", "turquoise"),
        "blue": ("blue",),
        "purple": ("purple", "violet"),
        "pink": ("pink",),
        "white": ("white",),
        "black": ("black",),
    },
    "size": {
        "small": ("small", "little"),
        "medium": ("medium", "medium-sized"),
        "large": ("large", "big"),
    },
    "texture": {
        "plain": ("plain", "solid"),
        "striped": ("striped", "stripy"),
        "dotted": ("dotted", "spotted"),
        "checked": ("checked", "checkered"),
    },
}
WITH_TEXTURE: dict[str, tuple[str, ...]] = {
    "striped": ("with stripes",),
    "dotted": ("with dots", "with spots"),
    "checked": ("with checks",),
}
RELATION_PHRASES: dict[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
    "in front of": ("in front of",),
    "behind": ("behind",),
}
PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
    "middle": ("in the middle", "in the centre", "in the center"),
    "top left": ("in the top left", "in the top left corner", "in the upper left"),
    "top right": ("in the top right", "in the top right corner", "in the upper right"),
    "bottom left": ("in the bottom left", "in the bottom left corner", "in the lower left"),
    "bottom right": ("in the bottom right", "in the bottom right corner", "in the lower right"),
}
TONE_WORDS: dict[str, tuple[str, ...]] = {
    "grey": ("grey", "gray"),
    "beige": ("beige",),
    "light blue": ("light blue", "pale blue"),
    "light green": ("light green", "pale green"),
    "light pink": ("light pink", "pale pink"),
    "light purple": ("light purple", "lavender"),
}
LANDSCAPE_PHRASES = {
    "meadow": ("in a meadow", "on a meadow", "in the meadow", "on green grass under a blue sky"),
    "beach": ("on a beach", "on the beach", "at the beach", "on sand under a blue sky"),
}
STYLE_PREFIXES = {
    "flat": ("a flat illustration of", "a flat drawing of"),
    "shaded": ("a 3d rendering of", "a shaded rendering of"),
}
STYLE_SUFFIXES = {"flat": ("flat style", "flat illustration"), "shaded": ("3d style", "shaded rendering")}
OPENINGS = ("a picture of", "an image of", "there is", "there are", "a scene with")
NUMBERS: dict[int, tuple[str, ...]] = {1: ("one",), 2: ("two",), 3: ("three",)}

ZH_NOUNS: dict[str, tuple[str, ...]] = {
    "cube": ("方块", "立方体", "正方体"),
    "ball": ("球", "圆球", "球体"),
    "cone": ("圆锥", "圆锥体"),
    "cylinder": ("圆柱", "圆柱体"),
    "star": ("星星", "五角星"),
    "ring": ("圆环", "环"),
    "heart": ("爱心", "心形"),
    "cross": ("十字", "十字形", "加号"),
}
ZH_ANY = ("物体", "东西", "图形")
# The measure words that go with each noun; the first is always right.
ZH_MEASURES: dict[str | None, tuple[str, ...]] = {
    "cube": ("个", "块"),
    "ball": ("个", "颗"),
    "cone": ("个",),
    "cylinder": ("个", "根"),
    "star": ("个", "颗"),
    "ring": ("个",),
    "heart": ("个", "颗"),
    "cross": ("个",),
    None: ("个",),
}
ZH_ADJECTIVES: dict[str, dict[str, tuple[str, ...]]] = {
    "colour": {
        "red": ("红色", "红"),
        "orange": ("橙色", "橘色"),
        "yellow": ("黄色", "黄"),
        "green": ("绿色", "绿"),
        "cyan": ("青色", "青"),
        "blue": ("蓝色", "蓝"),
        "purple": ("紫色", "紫"),
        "pink": ("粉色", "粉红色"),
        "white": ("白色", "白"),
        "black": ("黑色", "黑"),
    },
    "size": {
        "small": ("小", "小号"),
        "medium": ("中等大小", "中号"),
        "large": ("大", "大号"),
    },
    "texture": {
        "plain": ("纯色", "素面"),
        "striped": ("条纹", "带条纹"),
        "dotted": ("圆点", "波点", "带圆点"),
        "checked": ("格子", "棋盘格", "带格子"),
    },
}
ZH_RELATIONS: dict[str, tuple[str, ...]] = {
    "left of": ("左边", "左侧", "左面"),
    "right of": ("右边", "右侧", "右面"),
    "above": ("上方", "上面", "上边"),
    "below": ("下方", "下面", "下边"),
    "in front of": ("前面", "前方"),
    "behind": ("后面", "后方"),
}
ZH_PLACES: dict[str, tuple[str, ...]] = {
    "left": ("画面左侧", "画面左边"),
    "right": ("画面右侧", "画面右边"),
    "top": ("画面上方", "画面顶部"),
    "bottom": ("画面下方", "画面底部"),
    "middle": ("画面中央", "画面中间"),
    "top left": ("左上角", "画面左上角"),
    "top right": ("右上角", "画面右上角"),
    "bottom left": ("左下角", "画面左下角"),
    "bottom right": ("右下角", "画面右下角"),
}
ZH_TONES: dict[str, tuple[str, ...]] = {
    "grey": ("灰色",),
    "beige": ("米色",),
    "light blue": ("浅蓝色", "淡蓝色"),
    "light green": ("浅绿色", "淡绿色"),
    "light pink": ("浅粉色", "淡粉色"),
    "light purple": ("浅紫色", "淡紫色"),
}
ZH_LANDSCAPES = {"meadow": ("草地背景", "蓝天草地背景"), "beach": ("沙滩背景", "蓝天沙滩背景")}
ZH_STYLES = {"flat": ("扁平插画", "扁平风格"), "shaded": ("立体渲染", "立体风格")}
ZH_OPENINGS = ("画面上有", "图中有", "有")
ZH_NUMBERS: dict[int, tuple[str, ...]] = {1: ("一",), 2: ("两", "二"), 3: ("三",)}
