"""The contrast of each text of a page, computed in the browser and compared with WCAG 2."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from playwright.async_api import Page

# Colours are painted onto a canvas, because a style may use any notation.
SCRIPT = """(() => {
  const NOT_SEEN = "script, style, noscript, title, .unseen, :disabled, [hidden]";
  const paint = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const colour = (text, under) => {
    paint.fillStyle = under; paint.fillRect(0, 0, 1, 1); paint.fillStyle = text; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const css = (parts) => `rgb(${parts.join(" ")})`;
  const behind = (e) =>
    e === null ? [255, 255, 255] : colour(getComputedStyle(e).backgroundColor, css(behind(e.parentElement)));
  const light = (parts) => {
    const [r, g, b] = parts.map((p) => p / 255).map((p) => p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const seen = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (!text || e.closest(NOT_SEEN) || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const back = behind(e);
    const front = colour(e.closest("svg") ? style.fill : style.color, css(back));
    const key = css(front) + css(back);
    if (seen.has(key)) continue;
    const [bright, dark] = [light(front), light(back)].sort((a, b) => b - a);
    seen.set(key, { text: text.slice(0, 40), ratio: (bright + 0.05) / (dark + 0.05) });
  }
  return [...seen.values()];
})()"""
ENOUGH = 4.5
"""WCAG 2 AA, for text of any size."""


SCHEMES: Final[Sequence[Literal["light", "dark"]]] = ("light", "dark")


async def faint_texts(page: Page) -> dict[str, list[dict[str, Any]]]:
    """Return the texts with less contrast than ENOUGH by colour scheme, one for each pair of colours."""
    faint: dict[str, list[dict[str, Any]]] = {}
    for scheme in SCHEMES:
        await page.emulate_media(color_scheme=scheme)
        texts: list[dict[str, Any]] = await page.evaluate(SCRIPT)
        assert len(texts) > 2, "hardly any text was found"
        faint[scheme] = [text for text in texts if text["ratio"] < ENOUGH]
    return faint
