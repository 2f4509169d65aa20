"""Headings get the anchors that GitHub gives them, so that links work in both."""

import re


def slug(heading, separator="-"):
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", separator)


def on_config(config):
    config.mdx_configs.setdefault("toc", {}).update({"slugify": slug, "permalink": True})
    return config
