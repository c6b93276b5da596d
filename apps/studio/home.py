"""The first page: what this is, what each tab does in a sentence, and an example of each a click away."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from html import escape

import gradio as gr

from apps.studio.film import film_html
from domains.common.task import Task

_OPENING = """
<header class="hero">
  <h1>From noise to form, on your own machine</h1>
  <p>Langevin completes what is missing in your data with diffusion models, and says how sure it is.
     Files stay here; every result carries the recipe that makes it again.</p>
  <div class="restore"><button type="button" class="plain" data-restore>Restore from a file</button>
    <input type="file" data-restore-file hidden aria-label="A result to restore">
    <span>or drop one of your results anywhere on the page: its tab opens with every setting filled in.</span></div>
</header>
"""
_OTHER_WAYS = """
<section class="ways">
  <h2>The same from the command line, Python or HTTP</h2>
  <div class="three">
    <figure><figcaption>Command line</figcaption><pre class="mono" tabindex="0">python launch.py run series.impute \\
  --table table.csv --out results</pre></figure>
    <figure><figcaption>Python</figcaption><pre class="mono" tabindex="0">from gradio_client import Client, handle_file

app = Client(&quot;http://127.0.0.1:7860&quot;)
files, result = app.predict(
    table=handle_file(&quot;table.csv&quot;),
    api_name=&quot;/series_impute&quot;)</pre></figure>
    <figure><figcaption>Your own table</figcaption><pre class="mono" tabindex="0">python launch.py train series-base \\
  --data table.csv</pre></figure>
  </div>
</section>
"""


def domain_title(domain: str) -> str:
    """The name of a domain's tab."""
    return domain.replace("_", " ").capitalize()


def domain_sentence(domain: str) -> str:
    """What a domain's tab is for: the first line of its package's docstring; empty where it has none."""
    try:
        text = importlib.import_module(f"domains.{domain}").__doc__ or ""
    except ModuleNotFoundError:  # tasks declared outside the project
        return ""
    return text.strip().split("\n", 1)[0]


class Home:
    """The components of the home page; made inside the current Blocks.

    Attributes:
        examples: (task name, example label) -> its button.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.examples: dict[tuple[str, str], gr.Button] = {}
        by_domain: dict[str, list[Task]] = {}
        for task in tasks:
            by_domain.setdefault(task.domain, []).append(task)
        gr.HTML(_OPENING)
        for domain, members in by_domain.items():
            with gr.Column(elem_classes=["domain"]):
                gr.HTML(f"<h2>{escape(domain_title(domain))}</h2><p>{escape(domain_sentence(domain))}</p>")
                moving = film_html(domain)
                if moving:
                    gr.HTML(moving, js_on_load="langevin.film(element)")
                with gr.Row(elem_classes=["cards"], equal_height=True):
                    for task in members:
                        self._card(task)
        gr.HTML(_OTHER_WAYS)

    def _card(self, task: Task) -> None:
        with gr.Column(elem_classes=["task-card"], min_width=280):
            gr.HTML(f"<h3>{escape(task.title)}</h3><p>{escape(task.summary)}</p>")
            for label in list(task.examples)[:1]:  # the others are on the task's own page
                self.examples[task.name, label] = gr.Button(
                    f"Try it on {label}", size="sm", min_width=0, elem_id=f"try_{task.name.replace('.', '_')}"
                )
