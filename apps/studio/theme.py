"""The look of the studio: one accent, one colour for doubt, system typefaces, an 8-pixel grid, light and dark."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from apps.studio.viewers import page_script, page_style
from domains.common import plot_style

STATIC = Path(__file__).parent / "static"

TEXT_FONTS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO_FONTS = ("ui-monospace", "SF Mono", "Cascadia Mono", "Menlo", "Consolas", "Noto Sans Mono", "monospace")


# Plotly writes colours inline.  In text, where the plots' colours (made to do on light and dark paper alike) are a
# shade too faint for small letters, the page's own take their place; switching light and dark needs no redraw.
_TEXT_COLOURS = {
    plot_style.TEXT: "--quiet",
    plot_style.OBSERVED: "--accent",
    plot_style.DOUBT: "--doubt",
    plot_style.SECOND: "--second",
}


def css() -> str:
    """The style sheet that goes into the page."""
    rules = [
        f'.viewer svg text[style*="fill: {_rgb(colour)}"] {{ fill: var({name}) !important; }}'
        for colour, name in _TEXT_COLOURS.items()
    ]
    names = [STATIC / "studio.css", STATIC / "pages.css", *sorted((STATIC / "pages").glob("*.css"))]
    sheets = [path.read_text("utf-8") for path in names]
    sheets += [sheet.read_text("utf-8") for sheet in sorted(STATIC.glob("pages/*.css"))]
    return "\n".join([*sheets, page_style(), *rules]) + "\n"


def _rgb(colour: str) -> str:
    """`#rrggbb` as browsers write it in a style."""
    return "rgb({}, {}, {})".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))


def head() -> str:
    """The script that goes into the page's head; inline, so that the page asks for nothing from outside."""
    own = [(STATIC / name).read_text("utf-8") for name in ("studio.js", "pages.js")]
    scripts = "".join(f"<script>{script}</script>" for script in (*own, page_script()))
    return f'<meta name="color-scheme" content="light dark">{scripts}'


def theme() -> gr.themes.Base:
    """Gradio's variables in terms of the style sheet's own (`--ink`, `--accent`, ...), which know light and dark."""
    base = gr.themes.Base(
        font=TEXT_FONTS,
        font_mono=MONO_FONTS,
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
    )
    values = {
        "body_background_fill": "var(--page)",
        "body_text_color": "var(--ink)",
        "body_text_color_subdued": "var(--quiet)",
        "background_fill_primary": "var(--sheet)",
        "background_fill_secondary": "var(--page)",
        "border_color_primary": "var(--line)",
        "border_color_accent": "var(--accent)",
        "color_accent": "var(--accent)",
        "color_accent_soft": "var(--accent-soft)",
        "link_text_color": "var(--accent)",
        "link_text_color_hover": "var(--accent)",
        "link_text_color_active": "var(--accent)",
        "link_text_color_visited": "var(--accent)",
        "block_background_fill": "transparent",
        "block_border_width": "0px",
        "block_shadow": "none",
        "block_padding": "0px",
        "block_label_background_fill": "transparent",
        "block_label_border_width": "0px",
        "block_label_text_color": "var(--ink)",
        "block_title_text_color": "var(--ink)",
        "block_title_text_weight": "500",
        "block_info_text_color": "var(--quiet)",
        "input_background_fill": "var(--field)",
        "input_background_fill_focus": "var(--field)",
        "input_border_color": "var(--edge)",
        "input_border_color_focus": "var(--accent)",
        "input_border_width": "1px",
        "input_radius": "6px",
        "input_shadow": "none",
        "input_shadow_focus": "0 0 0 3px var(--accent-soft)",
        "input_placeholder_color": "var(--quiet)",
        "checkbox_background_color": "var(--field)",
        "checkbox_background_color_selected": "var(--accent)",
        "checkbox_border_color": "var(--edge)",
        "checkbox_border_color_focus": "var(--accent)",
        "checkbox_border_color_selected": "var(--accent)",
        "checkbox_label_background_fill": "var(--field)",
        "checkbox_label_background_fill_hover": "var(--accent-soft)",
        "checkbox_label_background_fill_selected": "var(--accent-soft)",
        "checkbox_label_border_color": "var(--edge)",
        "checkbox_label_border_width": "1px",
        "checkbox_label_text_color": "var(--ink)",
        "checkbox_label_text_color_selected": "var(--ink)",
        "slider_color": "var(--accent)",
        "loader_color": "var(--accent)",
        "button_primary_background_fill": "var(--accent)",
        "button_primary_background_fill_hover": "var(--accent-strong)",
        "button_primary_border_color": "transparent",
        "button_primary_text_color": "var(--on-accent)",
        "button_secondary_background_fill": "var(--sheet)",
        "button_secondary_background_fill_hover": "var(--accent-soft)",
        "button_secondary_border_color": "var(--edge)",
        "button_secondary_border_color_hover": "var(--accent)",
        "button_secondary_text_color": "var(--ink)",
        "button_secondary_text_color_hover": "var(--ink)",
        "button_cancel_background_fill": "var(--sheet)",
        "button_cancel_background_fill_hover": "var(--fault-soft)",
        "button_cancel_border_color": "var(--fault)",
        "button_cancel_text_color": "var(--fault)",
        "button_border_width": "1px",
        "error_background_fill": "var(--fault-soft)",
        "error_border_color": "var(--fault)",
        "error_text_color": "var(--fault)",
        "panel_background_fill": "transparent",
        "panel_border_width": "0px",
        "shadow_drop": "none",
        "shadow_drop_lg": "none",
    }
    dark = {f"{name}_dark": value for name, value in values.items() if hasattr(base, f"{name}_dark")}
    return base.set(**values, **dark)
