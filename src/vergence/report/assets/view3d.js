"use strict";
// A small 3D view on a 2D canvas: lines, dots and labels in perspective, drawn back to front with a halo in the
// background's colour, which is what makes crossing limbs readable. No WebGL: nothing to lose, nothing to emulate.
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const sum3 = (a, b, k) => [a[0] + k * b[0], a[1] + k * b[1], a[2] + k * b[2]];

class View3D {
  constructor(canvas, home) {
    this.canvas = canvas; this.home = home; this.lines = []; this.dots = []; this.labels = [];
    this.centre = [0, 0, 0]; this.across = 1; this.rect = [[-1, 1], [-1, 1]]; this.floor = 0; this.top = 1; this.unit = ""; this.drawn = 0;
    this.reset();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.onTheme && this.onTheme());
  }
  reset() { this.look(this.home[0], this.home[1]); }
  look(yaw, pitch) { this.yaw = yaw; this.pitch = pitch; this.zoom = 1; this.shift = [0, 0]; }
  // One finger that goes up or down scrolls the page (touch-action), sideways it turns; two fingers never move the page.
  listen() {
    const c = this.canvas, held = new Map();
    let panned = false, turning = false; // a finger turns once it is clear that it does not scroll
    const pair = () => {
      const [[x, y], [u, v]] = held.values(), box = c.getBoundingClientRect();
      return { x: (x + u) / 2 - box.left, y: (y + v) / 2 - box.top, far: Math.max(20, Math.hypot(x - u, y - v)) };
    };
    c.addEventListener("pointerdown", (e) => { panned = turning = false; held.set(e.pointerId, [e.clientX, e.clientY]); c.setPointerCapture(e.pointerId); });
    c.addEventListener("pointermove", (e) => {
      const from = held.get(e.pointerId);
      if (!from || held.size > 2) return;
      const before = held.size === 2 && pair(), x = e.clientX - from[0], y = e.clientY - from[1];
      turning = turning || e.pointerType !== "touch" || Math.abs(x) > Math.max(6, Math.abs(y));
      if (!before && !turning) return;
      held.set(e.pointerId, [e.clientX, e.clientY]);
      if (before) {
        const now = pair();
        this.move(now.x - before.x, now.y - before.y);
        this.scale(now.far / before.far, now.x, now.y);
      } else if (e.shiftKey || e.buttons & 6) { panned = true; this.move(x, y); } else this.turn(-x * 0.008, y * 0.008);
    });
    for (const name of ["pointerup", "pointercancel"]) c.addEventListener(name, (e) => { held.delete(e.pointerId); });
    for (const name of ["touchstart", "touchmove"]) c.addEventListener(name, (e) => { if (e.touches.length > 1 && e.cancelable) e.preventDefault(); }, { passive: false });
    c.addEventListener("contextmenu", (e) => { if (panned) e.preventDefault(); });
    c.addEventListener("dblclick", () => { this.reset(); this.draw(); });
    c.addEventListener("wheel", (e) => {
      if (document.activeElement !== c && !e.ctrlKey) return; // the page scrolls until the view is clicked
      e.preventDefault();
      this.scale(Math.exp(-e.deltaY * 0.0015), e.offsetX, e.offsetY);
    }, { passive: false });
    c.addEventListener("keydown", (e) => {
      const step = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
      if (e.altKey || e.ctrlKey || e.metaKey) return;
      if (step && e.shiftKey) this.move(-30 * step[0], -30 * step[1]);
      else if (step) this.turn(0.12 * step[0], 0.1 * step[1]);
      else if (e.key === "+" || e.key === "=") this.scale(1.15);
      else if (e.key === "-") this.scale(1 / 1.15);
      else if (e.key === "0") { this.reset(); this.draw(); } else return;
      e.preventDefault();
      e.stopPropagation();
    });
  }
  turn(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.max(-0.3, Math.min(Math.PI / 2, this.pitch + pitch));
    this.draw();
  }
  move(x, y) { this.shift = [this.shift[0] + x, this.shift[1] + y]; this.draw(); }
  // What is under (x, y) of the canvas, by default its middle, stays there.
  scale(factor, x, y) {
    const before = this.zoom, at = [x === undefined ? this.width / 2 : x, y === undefined ? this.height / 2 : y], k = this.middle;
    this.zoom = Math.max(0.4, Math.min(12, before * factor));
    this.shift = this.shift.map((v, i) => at[i] - k[i] - (at[i] - k[i] - v) * this.zoom / before);
    this.draw();
  }
  // Display axes (x right, y away, z up) to the canvas: [x, y, depth, pixels per unit], or null behind the eye.
  project(p) {
    const d = [p[0] - this.centre[0], p[1] - this.centre[1], p[2] - this.centre[2]];
    const x = Math.cos(this.yaw) * d[0] + Math.sin(this.yaw) * d[1], y = Math.cos(this.yaw) * d[1] - Math.sin(this.yaw) * d[0];
    const depth = y * Math.cos(this.pitch) - d[2] * Math.sin(this.pitch), rise = y * Math.sin(this.pitch) + d[2] * Math.cos(this.pitch);
    const eye = 4.5 * this.radius + depth;
    if (eye < 0.2 * this.radius) return null;
    const k = this.focal * this.zoom / eye;
    return [this.middle[0] + this.shift[0] + k * x, this.middle[1] + this.shift[1] - k * rise + this.focal * this.zoom * this.lift, depth, k];
  }
  // The scale at which all that is shown fits into the canvas however it is turned: the floor's corners, and a cylinder of
  // `across` around the centre, from the floor to the top. Room is left for the labels around them.
  fit() {
    const beside = this.width < 420 ? 26 : 34, above = 30, below = 40, low = this.floor - this.centre[2], high = this.top - this.centre[2];
    const corner = Math.max(...this.rect[0].map((x) => Math.max(...this.rect[1].map((y) => Math.hypot(x - this.centre[0], y - this.centre[1])))));
    this.radius = Math.max(Math.hypot(Math.max(corner, this.across), (high - low) / 2), 1e-9);
    const s = Math.sin(this.pitch), c = Math.cos(this.pitch), at = [];
    for (const [r, z] of [[corner, low], [this.across, low], [this.across, high]]) for (let i = 0; i < 48; i++) {
      const x = r * Math.cos(i * Math.PI / 24), y = r * Math.sin(i * Math.PI / 24), eye = 4.5 * this.radius + y * c - z * s;
      at.push([Math.abs(x) / eye, (y * s + z * c) / eye]);
    }
    const wide = Math.max(...at.map((p) => p[0])), rise = at.map((p) => p[1]), top = Math.max(...rise), bottom = Math.min(...rise);
    this.focal = Math.max(1, Math.min((this.width / 2 - beside) / wide, (this.height - above - below) / Math.max(top - bottom, 1e-9)));
    this.lift = (top + bottom) / 2;
    this.middle = [this.width / 2, above + (this.height - above - below) / 2];
  }
  floorItems() {
    const far = Math.max(...this.rect.map(([a, b]) => b - a)) / 2, raw = far / (this.width < 420 ? 1.2 : 2.2), power = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = power * [1, 2, 5, 10].find((m) => raw <= m * power * 1.0001);
    const z = this.floor, [xs, ys] = this.rect;
    const within = (range) => {
      const out = [];
      for (let i = Math.ceil(range[0] / step - 1e-9); i * step <= range[1] + 1e-9 * step; i++) out.push(i);
      return out;
    };
    const lines = [[xs[0], ys[0], xs[1], ys[0]], [xs[0], ys[1], xs[1], ys[1]], [xs[0], ys[0], xs[0], ys[1]], [xs[1], ys[0], xs[1], ys[1]]]
      .map((e) => [[e[0], e[1], z], [e[2], e[3], z], false]), labels = [];
    const text = (v) => String(+(v * step).toPrecision(6)).replace("-", "−").replace(/\B(?=(\d{3})+$)/g, step < 1 ? "" : ",");
    const near = (range, sign) => sign > 0 ? [range[0], -1] : [range[1], 1];
    const [nearY, outY] = near(ys, Math.cos(this.yaw)), [nearX, outX] = near(xs, -Math.sin(this.yaw)), gap = 0.1 * far;
    for (const i of within(xs)) {
      lines.push([[i * step, ys[0], z], [i * step, ys[1], z], i === 0]);
      if (Math.abs(Math.cos(this.yaw)) > 0.45) labels.push([[i * step, nearY + outY * gap, z], text(i)]);
    }
    for (const i of within(ys)) {
      lines.push([[xs[0], i * step, z], [xs[1], i * step, z], i === 0]);
      if (Math.abs(Math.sin(this.yaw)) > 0.45) labels.push([[nearX + outX * gap, i * step, z], text(i)]);
    }
    // The ruler for heights stands on the far corner that is leftmost on the screen.
    const corners = [];
    for (const x of xs) for (const y of ys) corners.push([x, y, z]);
    const screen = corners.map((c) => this.project(c) || [1e9, 0, 0, 0]);
    const corner = corners[screen.map((s, i) => [s[0], i]).sort((a, b) => a[0] - b[0])[0][1]];
    if (this.pitch < 1.3) {
      lines.push([corner, [corner[0], corner[1], this.top], false]);
      for (const k of within([z, this.top])) labels.push([[corner[0], corner[1], k * step], text(k), "end"]);
    }
    return { lines, labels, step, text };
  }
  draw() {
    const c = this.canvas, ratio = window.devicePixelRatio || 1, g = c.getContext("2d");
    this.width = c.clientWidth; this.height = c.clientHeight;
    if (!this.width) return;
    this.fit();
    if (c.width !== Math.round(this.width * ratio)) c.width = Math.round(this.width * ratio);
    if (c.height !== Math.round(this.height * ratio)) c.height = Math.round(this.height * ratio);
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, this.width, this.height);
    g.lineCap = "round"; g.lineJoin = "round";
    const stroke = (points, colour, width, dash) => {
      const q = points.map((p) => p && this.project(p));
      g.beginPath();
      let pen = false;
      for (const p of q) { if (!p) { pen = false; continue; } if (pen) g.lineTo(p[0], p[1]); else g.moveTo(p[0], p[1]); pen = true; }
      g.setLineDash(dash || []); g.strokeStyle = colour; g.lineWidth = width; g.stroke();
    };
    const floor = this.floorItems(), back = css("--card"), ink = css("--soft"), family = getComputedStyle(document.body).fontFamily;
    for (const [a, b, zero] of floor.lines) stroke([a, b], zero ? css("--line") : css("--grid"), zero ? 1.6 : 1);
    for (const l of this.lines) if (l.shadow) { g.globalAlpha = 0.13; stroke(l.points.map((p) => p && [p[0], p[1], this.floor]), css("--ink"), l.width * 0.9); g.globalAlpha = 1; }
    const things = [];
    for (const l of this.lines) {
      const q = l.points.map((p) => p && this.project(p)).filter(Boolean);
      if (q.length > 1) things.push([q.reduce((s, p) => s + p[2], 0) / q.length, () => {
        if (l.halo) { // shortened, so that a bone cuts what it crosses and not its neighbours
          const [a, b] = l.points, along = sum3(b, a, -1);
          g.lineCap = "butt"; stroke([sum3(a, along, 0.16), sum3(a, along, 0.84)], back, l.width + 4); g.lineCap = "round";
        }
        g.globalAlpha = l.alpha || 1; stroke(l.points, l.colour, l.width, l.dash); g.globalAlpha = 1;
      }]);
    }
    for (const d of this.dots) {
      const p = this.project(d.at);
      if (p) things.push([p[2] - 1e-3 * this.radius, () => { g.beginPath(); g.arc(p[0], p[1], d.size, 0, 7); g.fillStyle = d.colour; g.fill(); }]);
    }
    things.sort((a, b) => b[0] - a[0]);
    for (const [, paint] of things) paint();
    this.drawn = this.lines.filter((l) => l.bone).length;
    const taken = []; // by words: of two numbers of the floor at one place the first is written
    const write = (at, text, colour, align, dx, dy, bold) => {
      const p = this.project(at);
      if (!p || p[0] < -9 || p[0] > this.width + 9 || p[1] < -9 || p[1] > this.height + 9) return;
      g.font = (bold ? "600 12px " : "12px ") + family;
      g.textAlign = align; g.setLineDash([]); g.lineWidth = 3.5; g.strokeStyle = back;
      const wide = g.measureText(text).width, [left, right] = align === "center" ? [wide / 2, wide / 2] : [wide, 0];
      const x = Math.max(left + 4, Math.min(this.width - right - 4, p[0] + dx));
      const y = Math.max(14, p[1] + dy);
      if (!bold && taken.some(([from, to, line]) => x - left < to + 4 && from < x + right + 4 && Math.abs(y - line) < 12)) return;
      taken.push([x - left, x + right, y]);
      g.strokeText(text, x, y); g.fillStyle = colour; g.fillText(text, x, y);
    };
    for (const [at, text, align] of floor.labels) write(at, text, ink, align || "center", align ? -6 : 0, 4);
    for (const l of this.labels) write(l.at, l.text.length > 26 ? l.text.slice(0, 25) + "…" : l.text, css("--ink"), "center", 0, -9, true);
    g.font = "12px " + family; g.textAlign = "left"; g.fillStyle = ink;
    g.fillText("grid " + floor.text(1) + " " + this.unit, 12, this.height - 12);
    c.dataset.look = [this.yaw, this.pitch, this.zoom, ...this.shift].map((v) => +v.toFixed(3)).join(" ");
  }
}

// Lines and dots of one skeleton. A bone with a missing end is left out, a joint that hangs on nothing keeps its dot.
function skeletonItems(pose, bones, style) {
  const lines = [], dots = [];
  for (const [a, b, side] of bones) {
    if (!pose[a] || !pose[b] || pose[a].includes(null) || pose[b].includes(null)) continue;
    lines.push({ points: [pose[a], pose[b]], colour: style.colours[side], width: style.width, halo: style.halo, alpha: style.alpha, shadow: style.shadow, bone: true, dash: style.dash });
  }
  if (style.dot) for (const p of pose) if (p && !p.includes(null)) dots.push({ at: p, size: style.dot, colour: style.colours.c });
  return { lines, dots };
}
const predictedStyle = () => ({ colours: { l: css("--left"), r: css("--right"), c: css("--mid") }, width: 4.5, halo: true, shadow: true, dot: 2.6 });
const trueStyle = () => ({ colours: { l: css("--true"), r: css("--true"), c: css("--true") }, width: 8, alpha: 0.5, shadow: false });
const knownPoints = (pose) => (pose || []).filter((p) => p && !p.includes(null));
