// What is wrong with the page as it is shown now, as sentences.
(async () => {
  const wrong = [], seen = (e) => e.checkVisibility({ checkVisibilityCSS: true, checkOpacity: true }) && e.getClientRects().length;
  const where = (e) => e.tagName.toLowerCase() + "." + (e.getAttribute("class") || e.id) + " " + JSON.stringify(e.textContent.trim().slice(0, 40));
  const say = (words) => { if (!wrong.includes(words)) wrong.push(words); };

  await Promise.all([...document.images].map((one) => one.decode().catch(() => {})));
  for (const one of document.images) if (!one.complete || !one.naturalWidth) say("no image: " + one.alt);

  // Nothing goes beyond the page.
  if (document.documentElement.scrollWidth > innerWidth) {
    say("the page is " + document.documentElement.scrollWidth + " px wide, the screen " + innerWidth);
    const held = (e) => { for (let p = e.parentElement; p; p = p.parentElement) if (getComputedStyle(p).overflowX !== "visible") return true; return false; };
    for (const e of document.querySelectorAll("main *")) if (e.getBoundingClientRect().right > innerWidth + 1 && !held(e)) say("beyond the edge: " + where(e));
  }

  // Colours as Chromium writes them, laid over what is behind them.
  const colour = (text) => {
    const n = (text.match(/-?[\d.]+(e-?\d+)?/g) || []).map(Number), srgb = text.startsWith("color(");
    return [...n.slice(0, 3).map((v) => srgb ? v * 255 : v), n.length > 3 ? n[3] : 1];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = (e) => {
    const layers = [];
    for (let p = e; p; p = p.parentElement) layers.push(colour(getComputedStyle(p).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const contrast = (a, b) => { const [low, high] = [light(a.slice(0, 3)), light(b.slice(0, 3))].sort((x, y) => x - y); return (high + 0.05) / (low + 0.05); };

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walker.nextNode()) {
    const text = walker.currentNode, e = text.parentElement;
    if (!text.data.trim() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(e.tagName) || !seen(e)) continue;
    const style = getComputedStyle(e), svg = e.ownerSVGElement, size = parseFloat(style.fontSize);
    const shown = svg ? size * (svg.getScreenCTM() ? svg.getScreenCTM().a : 1) : size;
    texts++;
    if (shown < 11.99) say("text of " + shown.toFixed(1) + " px: " + where(e));
    if (/[-−]0(\.0+)?(?![\d.,])/.test(text.data) && !/[\w.][-−]0/.test(text.data)) say("minus zero: " + where(e));
    if (svg && style.stroke !== "none") continue; // over an image, with an outline of its own
    const large = shown >= 24 || (shown >= 18.66 && +style.fontWeight >= 700);
    const found = contrast(over(colour(svg ? style.fill : style.color), ground(e)), ground(e));
    if (found < (large ? 3 : 4.5)) say("contrast " + found.toFixed(2) + ": " + where(e));
  }
  if (texts < 3) say("no text is shown");

  // What is touched is large enough and has a name.
  for (const e of document.querySelectorAll("button, input, a[href], canvas, [tabindex]")) {
    if (!seen(e)) continue;
    const name = e.getAttribute("aria-label") || e.textContent.trim() || (e.labels && e.labels.length ? e.labels[0].textContent.trim() : "");
    if (!name) say("no name: " + where(e));
    const box = e.getBoundingClientRect();
    if (e.tagName === "BUTTON" && Math.min(box.width, box.height) < 24) say("a button of " + box.width.toFixed(0) + " x " + box.height.toFixed(0) + ": " + where(e));
  }

  // A wide table says so, and can be scrolled by keys; buttons lie beside the 3D, not on it.
  for (const e of document.querySelectorAll(".scroll")) {
    const wide = e.scrollWidth > e.clientWidth + 1;
    if (wide && (e.tabIndex !== 0 || getComputedStyle(e.parentElement, "::before").content === "none")) say("cut without a word: " + where(e));
  }
  for (const e of document.querySelectorAll("canvas")) {
    const box = e.getBoundingClientRect();
    if (!seen(e)) continue;
    if (box.height < 200 || box.bottom > e.parentElement.getBoundingClientRect().bottom + 1) say("a view of " + box.height.toFixed(0) + " px: " + e.id);
    if (getComputedStyle(e).touchAction !== "pan-y") say("touch-action " + getComputedStyle(e).touchAction + ": " + e.id);
    for (const b of e.parentElement.querySelectorAll("button")) if (b.getBoundingClientRect().bottom > box.top + 1) say("over the view: " + where(b));
  }
  if (document.body.dataset.ready !== "1" || document.body.dataset.error) say("the script failed: " + document.body.dataset.error);
  return wrong;
})()
