// The clock of what a page shows in time: a button and a slider move the 3D, the images and the charts' line together, and a
// click in a chart, or Enter on one of its values, moves the clock.
class Clock {
  // at: of a row its frame and time; show: draws what is to be seen at `row`.
  constructor(prefix, rows, fps, at, show) {
    Object.assign(this, { rows, fps, at, show, row: 0, playing: null });
    this.button = $(prefix + "play"); this.slider = $(prefix + "frame"); this.label = $(prefix + "label");
    this.charts = [...document.querySelectorAll(".chart[data-clock]")];
    this.slider.max = Math.max(0, rows - 1);
    this.slider.oninput = () => this.go(+this.slider.value);
    this.button.onclick = () => {
      if (this.playing === null) return this.play();
      this.stop(); this.show(this.row);
    };
    const bar = $(prefix + "transport");
    bar.hidden = rows < 2;
    for (const svg of this.charts) {
      const seek = (share) => { const [low, high] = this.span(svg); this.seek(svg.dataset.clock, low + share * (high - low)); };
      svg.addEventListener("click", (e) => { const box = svg.getBoundingClientRect(); seek((e.clientX - box.left) / box.width); });
      svg.addEventListener("keydown", (e) => { if (e.key === "Enter" && svg.dataset.at) seek(svg.dataset.at / 100); });
    }
    if (this.charts.length && rows > 1) this.hold(bar);
  }
  // The bar stays in view from below the 3D, which it never covers, to the last chart.
  hold(bar) {
    const rest = bar.parentElement, last = $("curves");
    for (const from of [bar.closest(".viewer"), bar.closest("section")]) while (from.nextSibling && rest.lastChild !== last) rest.append(from.nextSibling);
    rest.append(bar);
  }
  span(svg) { return svg.dataset.span.split(" ").map(Number); }
  go(row) { this.stop(); this.draw(row); }
  seek(kind, value) {
    let best = 0;
    for (let i = 1; i < this.rows; i++) if (Math.abs(this.at(i)[kind] - value) < Math.abs(this.at(best)[kind] - value)) best = i;
    this.go(best);
  }
  draw(row) {
    this.row = row = Math.max(0, Math.min(this.rows - 1, row));
    if (this.rows) {
      const now = this.at(row);
      this.slider.value = row;
      this.label.textContent = "frame " + now.frame + " · " + now.time.toFixed(2) + " s" + (now.note || "");
      for (const svg of this.charts) {
        const [low, high] = this.span(svg), line = svg.querySelector(".now"), x = (now[svg.dataset.clock] - low) / (high - low) * 100;
        line.setAttribute("x1", x + "%"); line.setAttribute("x2", x + "%");
        line.setAttribute("visibility", x >= 0 && x <= 100 ? "visible" : "hidden");
      }
    }
    this.show(row);
  }
  told(words, sign) { this.button.textContent = sign; this.button.setAttribute("aria-label", words); }
  stop() { cancelAnimationFrame(this.playing); this.playing = null; this.told("Play", "▶"); }
  play() {
    this.told("Pause", "❚❚");
    const from = performance.now() - this.row / this.fps * 1000;
    const tick = (now) => { this.playing = requestAnimationFrame(tick); this.draw(Math.floor(Math.max(0, now - from) / 1000 * this.fps) % this.rows); };
    this.playing = requestAnimationFrame(tick);
  }
}
