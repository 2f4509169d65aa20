"""Where mkdocs' Markdown differs from GitHub's: anchors of headings, and pipes in tables."""

import re


def slug(heading, separator="-"):
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", separator)


def on_config(config):
    config.mdx_configs.setdefault("toc", {}).update({"slugify": slug, "permalink": True})
    return config


def on_page_content(html, **_):
    return re.sub(r"<td>.*?</td>", lambda cell: cell[0].replace("\\|", "|"), html, flags=re.S)
