// What every Plotly figure shares: colours of the page, drawn when in sight, drawn anew when the colours change.

const PLOT_CONFIG = {
  responsive: true,
  displaylogo: false,
  scrollZoom: false,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
};

// Plotly reads some markup in texts: a text of a file must not be read.
const plotText = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function plotLayout(xTitle, yTitle) {
  const axis = (title) => ({
    title: { text: plotText(title), font: { size: 13 } },
    gridcolor: colour("rule"),
    linecolor: colour("rule"),
    zerolinecolor: colour("rule-strong"),
    automargin: true,
    fixedrange: false,
  });
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false,
    hovermode: "closest",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("ink-soft") },
    xaxis: axis(xTitle),
    yaxis: axis(yTitle),
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("faint"), activecolor: colour("ink-plain") },
  };
}

const plots = {
  drawers: new Map(),
  sight: new IntersectionObserver(
    (entries) =>
      entries.forEach((entry) => {
        if (entry.isIntersecting) plots.draw(entry.target);
      }),
    { rootMargin: "600px" },
  ),

  add(box, draw) {
    this.drawers.set(box, { draw, drawn: false });
    this.sight.observe(box);
  },

  draw(box) {
    const plot = this.drawers.get(box);
    if (!plot || plot.drawn) return;
    plot.drawn = true;
    plot.draw();
  },

  // Draw again what has been drawn; with `all`, also what has not been seen yet (for print).
  redraw(all = false) {
    for (const plot of this.drawers.values()) {
      if (!plot.drawn && !all) continue;
      plot.drawn = true;
      plot.draw();
    }
  },

  remove(box) {
    this.sight.unobserve(box);
    Plotly.purge(box);
    this.drawers.delete(box);
  },

  clear() {
    for (const box of [...this.drawers.keys()]) this.remove(box);
  },
};
