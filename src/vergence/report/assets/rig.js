// Cameras around a person in 3D, what each of them saw at some moments, and the clock that moves both.
function buildRig(rig) {
  const view = new View3D($("rig-canvas"), [0.5, 0.42]), frames = rig.poses.length;
  view.unit = rig.unit;
  const eyes = rig.cameras.map((c) => c.points[0]), path = knownPoints(rig.path), people = rig.poses.flatMap(knownPoints);
  const all = [...eyes, ...people, ...path, ...(rig.posesTrue || []).flatMap(knownPoints)], heights = people.map((p) => p[2]).sort((a, b) => a - b);
  const ends = (i) => all.reduce(([low, high], p) => [Math.min(low, p[i]), Math.max(high, p[i])], [Infinity, -Infinity]);
  const at = (i) => path.length ? path.map((p) => p[i]).sort((a, b) => a - b)[Math.floor(path.length / 2)] : 0;
  const person = [at(0), at(1)], reach = (list, from) => list.reduce((m, p) => Math.max(m, Math.hypot(p[0] - from[0], p[1] - from[1])), 1e-9);
  view.floor = heights.length ? heights[Math.floor(heights.length * 0.01)] : Math.min(...eyes.map((p) => p[2]));
  view.top = Math.max(...eyes.map((p) => p[2]), heights.length ? heights[Math.floor(heights.length * 0.99)] : -Infinity);
  const middle = [0, 1].map((i) => (ends(i)[0] + ends(i)[1]) / 2);
  view.centre = [...middle, (view.floor + view.top) / 2];
  view.across = reach(all, middle);
  view.rect = [0, 1].map((i) => [ends(i)[0] - 0.05 * view.across, ends(i)[1] + 0.05 * view.across]);
  const size = 0.16 * view.across, tops = [];
  const frusta = [];
  for (const camera of rig.cameras) {
    const [eye, ...rest] = camera.points, corners = rest.map((p) => sum3(eye, sum3(p, eye, -1), size));
    for (let i = 0; i < 4; i++) frusta.push([eye, corners[i]], [corners[i], corners[(i + 1) % 4]]);
    const mid = sum3(corners[0], sum3(corners[1], corners[0], -1), 0.5), under = sum3(corners[3], sum3(corners[2], corners[3], -1), 0.5);
    const peak = sum3(mid, sum3(mid, under, -1), 0.28); // the roof: which way is up in the image
    frusta.push([corners[0], peak], [peak, corners[1]]);
    const all = [eye, ...corners, peak];
    tops.push([0, 1].map((i) => all.reduce((s, p) => s + p[i] / all.length, 0)).concat(Math.max(...all.map((p) => p[2]))));
  }
  const images = rig.views ? buildImages(rig) : null;
  function draw() {
    const frame = clock.row;
    view.lines = frusta.map((points) => ({ points, colour: css("--accent"), width: 1.6 }));
    view.dots = eyes.map((at) => ({ at, size: 3, colour: css("--accent") }));
    for (const at of eyes) view.lines.push({ points: [at, [at[0], at[1], view.floor]], colour: css("--line"), width: 1, dash: [2, 4] });
    view.labels = rig.cameras.map((c, i) => ({ at: tops[i], text: c.name }));
    if (rig.path.length > 1) {
      const ground = rig.path.map((p) => p && !p.includes(null) ? [p[0], p[1], view.floor] : null);
      view.lines.push({ points: ground, colour: css("--faint"), width: 1.4, alpha: 0.7 });
    }
    const add = (pose, style) => { const k = skeletonItems(pose, data.bones, style); view.lines.push(...k.lines); view.dots.push(...k.dots); };
    if (rig.posesTrue && frames) add(rig.posesTrue[frame], trueStyle());
    if (frames) add(rig.poses[frame], { ...predictedStyle(), width: 3.2, dot: 1.6 });
    view.draw();
    document.body.dataset.rigBones = String(view.drawn);
    document.body.dataset.frame = String(frame);
    if (images && frames) images(frame);
  }
  function closeTo(pose) {
    const known = knownPoints(pose).map((p) => view.project(p)).filter(Boolean);
    if (!known.length) return;
    const [x, y, half] = extent(known);
    view.scale(0.4 * Math.min(view.width, view.height) / Math.max(half, 1), x, y);
    view.move(view.width / 2 - x, view.height / 2 - y);
  }
  if (frames) sideKeys($("rig-legend"));
  if (rig.posesTrue) $("rig-legend").append(key("truth", "--true"));
  if (images) $("rig-legend").append(key(data.labels[0] + ", in the images too", "--mid"), key(data.labels[1] + ", in the images", "--seen"));
  $("rig-legend").append(key("cameras", "--accent"), ...(rig.path.length > 1 ? [key("the root’s path on the floor", "--faint")] : []));
  VIEWS.whole = [0.5, 0.42];
  viewButtons($("rig-views"), view, ["whole", "front", "side", "top"]);
  if (frames) $("rig-views").prepend(make("button", { type: "button", textContent: "person", onclick: () => closeTo(rig.poses[clock.row]) }));
  const clock = new Clock("", frames, rig.fps, (row) => ({ frame: rig.frames[row], time: row / rig.fps }), draw);
  view.onTheme = draw;
  const fromHash = () => { const m = /frame=(\d+)/.exec(location.hash); if (m && frames) clock.go(+m[1]); };
  addEventListener("hashchange", fromHash);
  clock.go(0);
  fromHash();
  return view;
}


// A tile for each camera: the image nearest to the moment, with the 2D of its own moment, which is told where it is another.
function buildImages(rig) {
  const tiles = rig.views.map((view, i) => {
    const name = rig.cameras[i].name, stack = make("span", { className: "stack" }), note = make("span"), [w, h] = view.size;
    const button = make("button", { type: "button", onclick: () => {
      const large = tile.classList.toggle("large");
      button.setAttribute("aria-pressed", String(large));
      clockless();
    } }, stack);
    button.setAttribute("aria-label", name + ", larger or smaller");
    button.setAttribute("aria-pressed", "false");
    const tile = make("figure", { className: "tile" }, button, make("figcaption", {}, make("b", { textContent: name }), note));
    tile.style.setProperty("--aspect", w / h);
    let shown = null;
    function clockless() { // strokes keep their width, so a small tile has thinner ones
      const box = [-0.5, -0.5, w, h], scale = Math.max(0.35, Math.min(1, stack.clientHeight / 420));
      if (shown === null) return;
      stack.innerHTML = overlay({ kp: view.kp[shown], kpTrue: view.kpTrue[shown] }, false, box, scale, { prediction: true, truth: true });
      if (view.images[shown]) stack.prepend(make("img", { src: view.images[shown], alt: name + ", frame " + rig.frames[view.rows[shown]] + ", " + data.labels.join(" and ") + " drawn on it" }));
    }
    new ResizeObserver(clockless).observe(stack);
    return { tile, go: (row) => {
      const k = view.rows.reduce((best, r, j) => Math.abs(r - row) < Math.abs(view.rows[best] - row) ? j : best, 0), own = view.rows[k];
      if (k !== shown) { shown = k; clockless(); }
      note.textContent = (own === row ? "" : " · frame " + rig.frames[own] + ", " + (own / rig.fps).toFixed(2) + " s") + (view.images[k] ? "" : " · no image");
      tile.classList.toggle("other", own !== row);
    } };
  }).filter((one, i) => rig.views[i].rows.length);
  $("rig-images").style.setProperty("--many", Math.min(4, tiles.length));
  $("rig-images").append(...tiles.map((one) => one.tile));
  return (row) => { tiles.forEach((one) => one.go(row)); document.body.dataset.images = tiles.length; };
}
