const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const make = (tag, props, ...children) => { const e = Object.assign(document.createElement(tag), props); e.append(...children); return e; };
const scrolls = (e) => e.closest && e.closest(".scroll, .chart"); // these take the arrow keys themselves
const VIEWS = { front: [-0.0, 0.06], oblique: [0.6, 0.28], side: [Math.PI / 2, 0.06], top: [0, Math.PI / 2] };
const state = { sample: 0, group: "all", prediction: true, truth: true, differences: false };

function viewButtons(host, view, names) {
  for (const name of names) host.append(make("button", { type: "button", textContent: name, onclick: () => { view.look(...VIEWS[name]); view.draw(); } }));
}
function key(text, variable) {
  const k = make("span", { className: "key" }, make("i"), text);
  k.firstChild.style.setProperty("--c", "var(" + variable + ")");
  return k;
}
function toggle(text, name, redraw) {
  const input = make("input", { type: "checkbox", checked: state[name] });
  input.onchange = () => { state[name] = input.checked; redraw(); };
  return make("label", {}, input, text);
}
function sideKeys(host) { host.append(key("person’s left", "--left"), key("right", "--right"), key("middle", "--mid")); }

// --- samples ------------------------------------------------------------------------------------------------------
// A skeleton over an image, as SVG in the image's own pixels: (0, 0) is the centre of its top-left pixel.
function overlay(s, thin, box, scale, shown = state) {
  const out = [], k = scale || 1;
  const path = (k) => (side) => data.bones.filter(([a, b, d]) => d === side && k[a] && k[b] && !k[a].includes(null) && !k[b].includes(null))
    .map(([a, b]) => "M" + k[a] + "L" + k[b]).join("");
  const dots = (k) => knownPoints(k).map((p) => "M" + p + "h.001").join("");
  if (s.kp && shown.prediction) {
    const at = path(s.kp), all = at("l") + at("r") + at("c") + dots(s.kp);
    out.push('<path d="' + all + '" stroke="#0b0c0f" stroke-opacity=".6" stroke-width="' + (thin ? 3 : 6 * k) + '"/>');
    for (const [side, colour] of [["c", "#f4f5f7"], ["r", "#ff8a2b"], ["l", "#35a7f0"]]) out.push('<path d="' + at(side) + '" stroke="' + colour + '" stroke-width="' + (thin ? 1.7 : 3.4 * k) + '"/>');
    if (!thin) out.push('<path d="' + dots(s.kp) + '" stroke="#fff" stroke-width="' + 4.5 * k + '"/>');
  }
  if (s.kpTrue && shown.truth && !thin) {
    const at = path(s.kpTrue), all = at("l") + at("r") + at("c");
    out.push('<path d="' + all + '" stroke="#0b0c0f" stroke-opacity=".75" stroke-width="' + 2.8 * k + '"/><path d="' + all + '" stroke="#7dffb2" stroke-width="' + 1.4 * k + '" stroke-dasharray="' + 4 * k + '"/>');
    out.push('<path d="' + dots(s.kpTrue) + '" stroke="#0b0c0f" stroke-width="' + 6 * k + '"/><path d="' + dots(s.kpTrue) + '" stroke="#7dffb2" stroke-width="' + 3.6 * k + '"/>');
  }
  if (s.kp && s.kpTrue && shown.differences && !thin) {
    const d = s.kp.map((p, i) => (p && s.kpTrue[i] && !p.includes(null) && !s.kpTrue[i].includes(null)) ? "M" + p + "L" + s.kpTrue[i] : "").join("");
    out.push('<path d="' + d + '" stroke="#ff4d5e" stroke-width="1.6"/>');
  }
  return '<svg class="bones" viewBox="' + box + '" aria-hidden="true">' + (thin ? '<image href="' + s.image + '" x="-0.5" y="-0.5" width="' + s.size[0] + '" height="' + s.size[1] + '"/>' : "") + out.join("") + "</svg>";
}
function extent(points) { // centre and half side of the square around them
  const at = [0, 1].map((i) => points.map((p) => p[i])), low = at.map((v) => Math.min(...v)), high = at.map((v) => Math.max(...v));
  return [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, Math.max(high[0] - low[0], high[1] - low[1]) / 2];
}
function closeUp(s) { // the part of an image that a thumbnail shows: the person, where known
  const points = knownPoints(s.kp || s.kpTrue), [w, h] = s.size;
  let [x, y, half] = points.length > 2 ? extent(points) : [w / 2, h / 2, Math.min(w, h) / 2.3];
  half = Math.min(half * 1.15, Math.max(w, h) / 2);
  return [x - half, y - half, 2 * half, 2 * half];
}
function describe(s) {
  const parts = [s.title];
  if (s.kp) parts.push(data.labels[0] + " drawn on it");
  if (s.kpTrue) parts.push(data.labels[1] + " drawn on it");
  return parts.join(", ");
}
// The image's pane is as wide as the widest image needs, so that stepping does not move the page.
const imageAspect = Math.min(1.35, Math.max(0.6, ...data.samples.filter((s) => s.size).map((s) => s.size[0] / s.size[1])));
function showImage(s) {
  const host = $("image");
  host.parentElement.classList.toggle("single", !s.image || !(s.pose || s.poseTrue));
  host.parentElement.style.setProperty("--aspect", imageAspect);
  host.hidden = !s.image;
  host.replaceChildren();
  if (!s.image) return;
  const stack = make("div", { className: "stack" });
  stack.style.aspectRatio = s.size[0] + " / " + s.size[1];
  stack.style[s.size[0] / s.size[1] > host.clientWidth / host.clientHeight ? "width" : "height"] = "100%";
  host.append(stack);
  const points = knownPoints(s.kpTrue || s.kp), shown = points.length > 2 ? extent(points)[2] * 2 * stack.clientHeight / s.size[1] : 300;
  stack.innerHTML = overlay(s, false, [-0.5, -0.5, ...s.size], Math.max(0.5, Math.min(1, shown / 260)));
  const img = make("img", { src: s.image, alt: describe(s) });
  if (Math.max(...s.size) <= 160) img.className = "small";
  stack.prepend(img);
}
function flatSkeleton(s) { // a thumbnail of a pose that has no image
  const pts = knownPoints(s.pose), span = Math.max(...pts.map((p) => Math.max(Math.abs(p[0]), Math.abs(p[2]))), 1e-9) * 1.15;
  const d = (side) => data.bones.filter(([a, b, x]) => x === side && s.pose[a] && s.pose[b] && !s.pose[a].includes(null) && !s.pose[b].includes(null))
    .map(([a, b]) => "M" + s.pose[a][0] + " " + -s.pose[a][2] + "L" + s.pose[b][0] + " " + -s.pose[b][2]).join("");
  return '<svg class="bones" viewBox="' + [-span, -span, 2 * span, 2 * span] + '" aria-hidden="true">' +
    [["c", "--mid"], ["r", "--right"], ["l", "--left"]].map(([x, v]) => '<path d="' + d(x) + '" stroke="var(' + v + ')" stroke-width="1.8"/>').join("") + "</svg>";
}
function setPose(view, s, usual) {
  view.lines = []; view.dots = [];
  const add = (pose, style) => { const k = skeletonItems(pose, data.bones, style); view.lines.push(...k.lines); view.dots.push(...k.dots); };
  if (s.poseTrue && state.truth) add(s.poseTrue, trueStyle());
  if (s.pose && state.prediction) add(s.pose, predictedStyle());
  if (s.pose && s.poseTrue && state.differences) s.pose.forEach((p, i) => {
    const q = s.poseTrue[i];
    if (p && q && !p.includes(null) && !q.includes(null)) view.lines.push({ points: [p, q], colour: css("--refused"), width: 1.6 });
  });
  const all = knownPoints(s.poseTrue).concat(knownPoints(s.pose));
  const low = [0, 1, 2].map((i) => Math.min(...all.map((p) => p[i]))), high = [0, 1, 2].map((i) => Math.max(...all.map((p) => p[i])));
  if (all.length) {
    view.centre = low.map((v, i) => (v + high[i]) / 2);
    view.rect = [0, 1].map((i) => [view.centre[i] - 0.8 * usual[0], view.centre[i] + 0.8 * usual[0]]);
    view.across = Math.max(usual[0], ...all.map((p) => Math.hypot(p[0] - view.centre[0], p[1] - view.centre[1])));
    const tall = Math.max(usual[1], high[2] - low[2]);
    view.floor = low[2]; view.top = low[2] + tall; view.centre[2] = low[2] + tall / 2;
  }
  view.draw();
  document.body.dataset.bones = String(view.drawn);
}
const median = (list, otherwise) => list.length ? [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] : otherwise;
function usualSize() { // reach around the middle and height of a middling pose, so that samples are shown at one scale
  const all = data.samples.map((s) => knownPoints(s.poseTrue || s.pose)).filter((p) => p.length > 1);
  const reach = all.map((p) => Math.max(...p.map((q) => Math.hypot(q[0], q[1])))), tall = all.map((p) => Math.max(...p.map((q) => q[2])) - Math.min(...p.map((q) => q[2])));
  return [median(reach, 1), median(tall, 1)];
}
function buildSamples() {
  const view = new View3D($("pose"), VIEWS.oblique), usual = usualSize();
  view.unit = data.unit;
  const shown = () => data.samples.map((s, i) => i).filter((i) => state.group === "all" || data.samples[i].group === state.group);
  const names = [...new Set(data.samples.map((s) => s.group))];
  const thumbs = data.samples.map((s, i) => {
    const b = make("button", { type: "button", className: "thumb", title: s.title, onclick: () => show(i) });
    b.setAttribute("aria-label", s.title);
    b.innerHTML = s.image ? overlay(s, true, closeUp(s)) : s.pose ? flatSkeleton(s) : "";
    return b;
  });
  const redraw = () => { const s = data.samples[state.sample]; showImage(s); setPose(view, s, usual); };
  function show(i, keepHash) {
    state.sample = (i + data.samples.length) % data.samples.length;
    const s = data.samples[state.sample], list = shown();
    if (!list.includes(state.sample)) choose("all");
    $("title").textContent = s.title;
    $("errors").replaceChildren(...s.errors.map(([k, v]) => make("span", {}, k + " ", make("b", { textContent: v }))));
    $("note").textContent = s.note;
    $("count").textContent = s.group + " · " + (shown().indexOf(state.sample) + 1) + " of " + shown().length;
    thumbs.forEach((b, j) => b.setAttribute("aria-current", String(j === state.sample)));
    const has3d = s.pose || s.poseTrue;
    $("pose").parentElement.hidden = !has3d;
    $("viewer").querySelector(".how").hidden = !has3d;
    if (has3d) $("pose").setAttribute("aria-label", "3D skeletons of " + s.title + "; arrow keys turn them");
    redraw();
    document.body.dataset.sample = String(state.sample);
    if (!keepHash) history.replaceState(null, "", "#sample=" + state.sample);
  }
  function step(by) { const list = shown(), at = list.indexOf(state.sample); show(list[(at + by + list.length) % list.length]); }
  function choose(group) {
    state.group = group;
    for (const b of $("groups").children) b.setAttribute("aria-pressed", String(b.dataset.group === group));
    $("strip").replaceChildren(...names.filter((n) => group === "all" || n === group).map((n) => make("section", {},
      make("h4", { textContent: n }), make("div", { className: "thumbs" }, ...thumbs.filter((b, i) => data.samples[i].group === n)))));
  }
  for (const name of names.length > 1 ? ["all", ...names] : names) {
    const count = name === "all" ? data.samples.length : data.samples.filter((s) => s.group === name).length;
    const b = make("button", { type: "button", onclick: () => { choose(name); if (!shown().includes(state.sample)) show(shown()[0]); else show(state.sample); } }, name, make("small", { textContent: count }));
    b.dataset.group = name;
    $("groups").append(b);
  }
  const hasOwn = data.samples.some((s) => s.kp || s.pose), keys = [];
  if (hasOwn) {
    sideKeys($("legend"));
    keys.push(toggle(data.labels[0], "prediction", redraw));
  }
  const hasTrue2d = data.samples.some((s) => s.kpTrue), hasTrue3d = data.samples.some((s) => s.poseTrue);
  if (hasTrue2d || hasTrue3d) keys.push(toggle(data.labels[1] + (hasTrue3d ? " (grey" + (hasTrue2d ? ", in the image green)" : ")") : " (green)"), "truth", redraw), ...(hasOwn ? [toggle("differences (red)", "differences", redraw)] : []));
  $("legend").append(...keys);
  viewButtons($("pose-views"), view, Object.keys(VIEWS));
  $("previous").onclick = () => step(-1);
  $("next").onclick = () => step(1);
  view.onTheme = redraw;
  document.addEventListener("keydown", (e) => {
    if (e.altKey || e.ctrlKey || e.metaKey || e.shiftKey || ["INPUT", "SELECT", "TEXTAREA"].includes(e.target.tagName) || scrolls(e.target)) return;
    if (e.key === "ArrowLeft") step(-1); else if (e.key === "ArrowRight") step(1); else return;
    e.preventDefault();
  });
  const fromHash = () => { const m = /sample=(\d+)/.exec(location.hash); if (m) show(Math.min(+m[1], data.samples.length - 1), true); return m; };
  addEventListener("hashchange", fromHash);
  addEventListener("resize", () => showImage(data.samples[state.sample]));
  choose("all");
  if (!fromHash()) show(0, true);
  return view;
}

// --- curves: the values under the pointer, or from one to the next by the arrow keys --------------------------------
for (const svg of document.querySelectorAll("svg.chart")) {
  const series = JSON.parse(svg.dataset.series), g = svg.querySelector(".reading");
  const draw = (tag, props, text) => { const e = document.createElementNS(svg.namespaceURI, tag); for (const name in props) e.setAttribute(name, props[name]); if (text) e.textContent = text; g.append(e); };
  const places = [...new Set(series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
  let at = null;
  function read(x) {
    const hits = series.map((s) => s.points.reduce((best, p) => !best || Math.abs(p[0] - x) < Math.abs(best[0] - x) ? p : best, null));
    const first = hits.find(Boolean);
    g.replaceChildren();
    if (!first) return;
    svg.dataset.at = at = first[0];
    const right = at > 50;
    draw("line", { x1: at + "%", x2: at + "%", y1: 0, y2: "100%" });
    hits.forEach((p, i) => { if (p) draw("circle", { class: "s" + i % 8, cx: p[0] + "%", cy: p[1] + "%", r: 3.5 }); });
    hits.forEach((p, i) => { if (p) draw("text", { x: at + "%", y: 12 + 16 * i, dx: right ? -8 : 8, "text-anchor": right ? "end" : "start" }, series[i].name + " " + p[3] + " at " + p[2]); });
  }
  const leave = () => { g.replaceChildren(); at = null; delete svg.dataset.at; };
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  for (const kind of ["pointermove", "pointerdown"]) svg.addEventListener(kind, (e) => { const area = svg.getBoundingClientRect(); read((e.clientX - area.left) / area.width * 100); });
  svg.addEventListener("keydown", (e) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!by || e.altKey || e.ctrlKey || e.metaKey) return;
    read(at === null ? places[by > 0 ? 0 : places.length - 1] : places[Math.max(0, Math.min(places.length - 1, places.indexOf(at) + by))]);
    e.preventDefault();
  });
}

// --- tables: those that are wider than the page say so, and scroll by keys too ----------------------------------------
function tellCut() {
  for (const host of document.querySelectorAll(".scroll")) {
    const cut = host.scrollWidth > host.clientWidth + 1;
    host.parentElement.classList.toggle("cut", cut);
    if (cut) host.tabIndex = 0; else host.removeAttribute("tabindex");
  }
}
addEventListener("resize", tellCut);
for (const one of document.querySelectorAll("details")) {
  one.open = innerWidth > 760; // on a phone long tables are opened by who wants them
  one.addEventListener("toggle", tellCut);
}
tellCut();

addEventListener("error", (e) => { document.body.dataset.error = e.message; });
if (data.samples.length) buildSamples();
if (data.rig) buildRig(data.rig);
if (data.clip) buildClip(data.clip);
document.body.dataset.ready = "1";
