// People before one camera over time: an image beside everybody's 3D, in a row or where they stand. Space plays and stops,
// the arrow keys step; on the 3D they turn it.
function buildClip(clip) {
  const view = new View3D($("clip-canvas"), VIEWS.oblique), rows = clip.frames.length, many = clip.people.length > 1;
  view.unit = clip.unit;
  const bodies = clip.poses.map((own) => own.map(knownPoints)), all = bodies.flat(2);
  const span = (points, i) => { const v = points.map((p) => p[i]).sort((a, b) => a - b), at = (q) => v[Math.floor(q * (v.length - 1))] || 0; return [at(0.005), at(0.995)]; };
  const reach = Math.max(1e-9, span(all.map((p) => [Math.hypot(p[0], p[1])]), 0)[1]);
  const place = (person, row) => clip.roots ? clip.roots[person][row] : null;
  const inRoom = clip.roots ? clip.poses.map((own, p) => own.map((pose, t) => {
    const at = place(p, t);
    return at && !at.includes(null) ? pose.map((joint) => joint.includes(null) ? joint : joint.map((v, i) => v + at[i])) : pose.map(() => [null, null, null]);
  })) : null;
  const beside = (person) => 1.7 * reach * (person - (clip.people.length - 1) / 2);
  const inRow = clip.poses.map((own, p) => own.map((pose) => pose.map((joint) => joint.includes(null) ? joint : [joint[0] + beside(p), joint[1], joint[2]])));
  let row = 0, room = false, shown = null;
  function frame3d() { // what fits into the view
    const points = (room ? inRoom : inRow).flat(2).filter((p) => !p.includes(null)), z = span(points, 2), x = span(points, 0), y = span(points, 1);
    view.floor = z[0]; view.top = Math.max(z[1], z[0] + 1e-9);
    if (room) for (const range of [x, y]) { range[0] = Math.min(range[0], 0); range[1] = Math.max(range[1], 0); } // the camera's place
    const pad = room ? 0.06 * Math.max(x[1] - x[0], y[1] - y[0]) : 0.1 * reach;
    view.rect = [x, y].map(([low, high]) => [low - pad, high + pad]);
    view.centre = [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2, (view.floor + view.top) / 2];
    view.across = Math.max(Math.hypot(x[1] - x[0], y[1] - y[0]) / 2, room ? 0 : reach);
  }
  function still() { let k = 0; while (k + 1 < clip.stills.length && clip.stills[k + 1].row <= row) k++; return clip.stills[k]; }
  function showStill(s) {
    const host = $("clip-image");
    host.parentElement.classList.toggle("single", !s);
    host.hidden = !s;
    if (!s) return;
    host.parentElement.style.setProperty("--aspect", Math.min(1.35, Math.max(0.6, s.size[0] / s.size[1])));
    if (shown !== s) {
      const stack = make("div", { className: "stack" }), names = [];
      stack.style.aspectRatio = s.size[0] + " / " + s.size[1];
      s.kp.forEach((kp, i) => {
        const points = knownPoints(kp);
        if (!points.length) return;
        stack.insertAdjacentHTML("beforeend", overlay({ kp }, false, [-0.5, -0.5, ...s.size], 0.7));
        if (many) names.push('<text x="' + points.reduce((sum, p) => sum + p[0] / points.length, 0) + '" y="' + Math.max(14, Math.min(...points.map((p) => p[1])) - 8) + '">' + clip.people[i] + "</text>");
      });
      if (names.length) stack.insertAdjacentHTML("beforeend", '<svg class="bones names" viewBox="' + [-0.5, -0.5, ...s.size] + '" aria-hidden="true">' + names.join("") + "</svg>");
      stack.prepend(make("img", { src: s.image, alt: "Frame " + clip.frames[s.row] + " of the video, with the joints that were found" }));
      host.replaceChildren(stack);
      shown = s;
    }
    const stack = host.firstChild, wide = s.size[0] / s.size[1] > host.clientWidth / host.clientHeight;
    stack.style.width = wide ? "100%" : ""; stack.style.height = wide ? "" : "100%";
  }
  function draw() {
    view.lines = []; view.dots = []; view.labels = [];
    if (room) {
      const [eye, ...rest] = clip.camera, size = 0.1 * view.across, corners = rest.map((p) => sum3(eye, sum3(p, eye, -1), size));
      for (let i = 0; i < 4; i++) for (const points of [[eye, corners[i]], [corners[i], corners[(i + 1) % 4]]]) view.lines.push({ points, colour: css("--accent"), width: 1.6 });
      view.labels.push({ at: [eye[0], eye[1], Math.max(...corners.map((p) => p[2]))], text: "camera" });
      clip.roots.forEach((own) => view.lines.push({ points: own.slice(start(), end()).map((p) => p.includes(null) ? null : [p[0], p[1], view.floor]), colour: css("--faint"), width: 1.4, alpha: 0.7 }));
    }
    (room ? inRoom : inRow).forEach((own, p) => {
      const k = skeletonItems(own[row], data.bones, room ? { ...predictedStyle(), width: 3.2, dot: 1.6 } : predictedStyle()), known = knownPoints(own[row]);
      view.lines.push(...k.lines); view.dots.push(...k.dots);
      if (many && known.length) view.labels.push({ at: [known.reduce((s, q) => s + q[0] / known.length, 0), known.reduce((s, q) => s + q[1] / known.length, 0), Math.max(...known.map((q) => q[2]))], text: String(clip.people[p]) });
    });
    view.draw();
    showStill(still());
    Object.assign(document.body.dataset, { clipBones: view.drawn, clipRow: row, clipStill: still() ? still().row : "", clipRoom: room, clipPlaying: clock.playing !== null });
  }
  const start = () => clip.starts.filter((s) => s <= row).pop() || 0, end = () => clip.starts.find((s) => s > row) || rows;
  const nobody = (at) => !clip.poses.some((own) => knownPoints(own[at]).length);
  const clock = new Clock("clip-", rows, clip.fps, (at) => ({ frame: clip.frames[at], time: clip.times[at], note: nobody(at) ? " · nobody" : "" }), (at) => { row = at; draw(); });
  document.addEventListener("keydown", (e) => {
    if (e.altKey || e.ctrlKey || e.metaKey || e.shiftKey || ["INPUT", "BUTTON", "A"].includes(e.target.tagName) || scrolls(e.target)) return;
    if (e.key === " ") $("clip-play").click(); else if (e.key === "ArrowLeft") clock.go(row - 1); else if (e.key === "ArrowRight") clock.go(row + 1); else return;
    e.preventDefault();
  });
  sideKeys($("clip-legend"));
  viewButtons($("clip-views"), view, Object.keys(VIEWS));
  if (clip.roots) {
    const modes = [["poses", false], ["in the room", true]].map(([name, value]) => make("button", { type: "button", textContent: name, onclick: () => choose(value) }));
    const choose = (value) => { room = value; modes.forEach((b, i) => b.setAttribute("aria-pressed", String(value === Boolean(i)))); frame3d(); view.reset(); draw(); };
    $("clip-legend").append(make("span", { className: "group" }, ...modes));
    choose(false);
  }
  view.onTheme = draw;
  addEventListener("resize", draw);
  const fromHash = () => { const m = /moment=(\d+)/.exec(location.hash); if (m) clock.go(+m[1]); if (/room/.test(location.hash) && clip.roots) $("clip-legend").querySelector("button:last-child").click(); };
  addEventListener("hashchange", fromHash);
  frame3d();
  clock.go(0);
  fromHash();
}
