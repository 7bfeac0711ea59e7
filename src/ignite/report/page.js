"use strict";
// Draws the figures. What is shown as text by Plotly goes through plain(), because Plotly reads tags in it.
(() => {
  let figures = JSON.parse(document.getElementById("figures").textContent);
  const hidden = new Set();
  let axis = "step", isLog = false;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const titles = {step: "step", epoch: "epoch", elapsed: "training time", clock: "time (UTC)"};
  const symbols = {resumed: "triangle-up", failed: "x", killed: "x-thin-open", stopped: "square",
    control: "diamond-open"};
  const isGood = kind => kind === "resumed" || kind === "control";

  const plain = text => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const color = (run, alpha = 1) =>
    `hsla(${(211 + run * 137.5) % 360}, 70%, ${style("--run-light")}, ${alpha})`;
  const colorOf = outcome => style({finished: "--good", running: "--wait", stopped: "--warn", unknown: "--soft"}[outcome]
    || "--bad");
  const date = seconds => new Date(seconds * 1000).toISOString();
  const place = (value) => value === null ? null : axis === "clock" ? date(value) : value;

  function layout(extra) {
    const grid = {gridcolor: style("--line"), zerolinecolor: style("--line"), automargin: true};
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: style("--text"), size: 12},
      margin: {l: 48, r: 12, t: 12, b: 40}, showlegend: false, hovermode: "closest", uirevision: axis + isLog,
      hoverlabel: {bgcolor: style("--panel"), bordercolor: style("--line"), font: {color: style("--text")}, namelength: -1},
      ...extra, xaxis: {...grid, ...extra.xaxis}, yaxis: {...grid, ...extra.yaxis},
    };
  }
  const config = {displaylogo: false, responsive: true, displayModeBar: false};

  function unitOfTime() {
    const all = figures.charts.flatMap(chart => chart.traces.flatMap(trace => trace.elapsed));
    const longest = all.reduce((most, one) => Math.max(most, one), 0);
    return longest > 7200 ? ["h", 3600] : longest > 120 ? ["min", 60] : ["s", 1];
  }

  function xOf(values, length) {
    return axis === "elapsed" ? values.map(one => one === null ? null : one / length) : values.map(place);
  }

  function curve(trace, length) {
    const isDashed = trace.phase === "validation";
    const text = figures.runs.length > 1 ? `${figures.runs[trace.run].name}: ${trace.name}` : trace.name;
    const count = trace.value.length;
    return {
      type: "scatter", x: xOf(trace[axis], length), y: trace.value,
      name: plain(text + (trace.is_mean ? " (mean of the epoch)" : "")),
      mode: count === 1 ? "markers" : count <= 30 && !trace.is_faint ? "lines+markers" : "lines",
      marker: {size: 5}, connectgaps: false,
      line: {color: color(trace.run, trace.is_faint ? 0.5 : 1), width: trace.is_faint ? 1 : 2,
        dash: isDashed ? "dash" : "solid"},
      hovertemplate: `%{fullData.name}<br>${plain(titles[axis])} %{x}<br><b>%{y:.6g}</b><extra></extra>`,
    };
  }

  function marks(length) {
    // Markers at the upper edge, on an axis of their own, and lines down from them.
    const shapes = [], traces = [];
    figures.sessions.forEach((one, run) => {
      const known = one.marks.filter(mark => mark[axis] !== null && mark[axis] !== undefined);
      if (hidden.has(run) || !known.length) return;
      const x = xOf(known.map(mark => mark[axis]), length);
      x.forEach(at => shapes.push({type: "line", xref: "x", yref: "paper", x0: at, x1: at, y0: 0, y1: 1,
        line: {color: color(run, 0.55), width: 1, dash: "dot"}}));
      traces.push({
        type: "scatter", mode: "markers", x, y: known.map(mark => isGood(mark.kind) ? 0.92 : 1), yaxis: "y2", cliponaxis: false,
        marker: {symbol: known.map(mark => symbols[mark.kind] || "circle"), size: 9, color: color(run),
          line: {color: color(run), width: 2}},
        text: known.map(mark => plain(`${figures.runs[run].name}: ${mark.text}`)), hovertemplate: "%{text}<extra></extra>",
      });
    });
    return {shapes, traces};
  }

  function makeBox() {
    const figure = document.createElement("figure");
    figure.append(document.createElement("figcaption"), document.createElement("div"));
    figure.lastChild.className = "plot";
    document.getElementById("charts").append(figure);
  }

  function drawChart(chart, i) {
    const box = document.getElementById("charts").children[i].lastChild;
    box.previousSibling.textContent = chart.title;
    const [unit, length] = unitOfTime();
    const extra = marks(length);
    const traces = chart.traces.filter(trace => !hidden.has(trace.run)).map(trace => curve(trace, length));
    const title = axis === "elapsed" ? `${titles.elapsed} (${unit})` : titles[axis];
    Plotly.react(box, [...traces, ...extra.traces], layout({
      shapes: extra.shapes,
      xaxis: {title: {text: title, standoff: 6}, type: axis === "clock" ? "date" : "linear",
        nticks: axis === "clock" ? 4 : 6, tickangle: 0},
      yaxis: {type: isLog ? "log" : "linear", nticks: 6},
      yaxis2: {overlaying: "y", range: [0, 1], visible: false, fixedrange: true},
    }), config);
  }

  function drawSessions() {
    const box = document.getElementById("sessions");
    const shown = figures.runs.map((run, i) => i).filter(i => !hidden.has(i));
    const name = i => plain(figures.runs[i].name.length > 22 ? "…" + figures.runs[i].name.slice(-21) : figures.runs[i].name);
    const bars = shown.flatMap(i => figures.sessions[i].spans.map(span => ({i, span})));
    box.style.height = `${70 + 34 * Math.max(shown.length, 1)}px`;
    const words = ({i, span}) => plain(`${figures.runs[i].name}: ${span.outcome}${span.text ? ": " + span.text : ""}`);
    const saved = shown.flatMap(i => figures.checkpoints[i].map(([at, file]) => ({i, at, file})));
    Plotly.react(box, [
      {type: "bar", orientation: "h", y: bars.map(({i}) => name(i)), base: bars.map(({span}) => date(span.start)),
        x: bars.map(({span}) => Math.max((span.end - span.start) * 1000, 1)), width: 0.55,
        text: bars.map(words), textposition: "none", hovertemplate: "%{text}<extra></extra>",
        marker: {color: bars.map(({i}) => color(i, 0.45)), line: {width: 2, color: bars.map(({span}) => colorOf(span.outcome))}}},
      {type: "scatter", mode: "markers", y: saved.map(({i}) => name(i)), x: saved.map(({at}) => date(at)),
        text: saved.map(({file}) => plain(file)), hovertemplate: "%{text}<extra></extra>",
        marker: {symbol: "diamond", size: 8, color: style("--text")}},
      ...shown.flatMap(i => figures.sessions[i].marks.map(mark => ({
        type: "scatter", mode: "markers", x: [date(mark.clock)], y: [name(i)], text: [plain(mark.text)],
        hovertemplate: "%{text}<extra></extra>",
        marker: {symbol: symbols[mark.kind] || "circle", size: 11, color: colorOf(isGood(mark.kind) ? "running" : mark.kind),
          line: {width: 2, color: colorOf(isGood(mark.kind) ? "running" : mark.kind)}}}))),
    ], layout({
      xaxis: {type: "date", nticks: box.clientWidth < 600 ? 3 : 6, tickangle: 0}, yaxis: {type: "category", autorange: "reversed"}, margin: {l: 40, r: 12, t: 8, b: 40},
    }), config);
  }

  function key() {
    const texts = [];
    const traces = figures.charts.flatMap(chart => chart.traces);
    if (traces.some(trace => trace.is_faint)) texts.push("Faint: each logged step; strong: mean of the epoch.");
    if (traces.some(trace => trace.phase === "validation")) texts.push("Solid: training; dashed: validation.");
    if (figures.sessions.some(one => one.marks.length))
      texts.push("Dotted lines: ▲ resumed, ✕ failed or killed, ■ stopped, ◇ commands.");
    if (!traces.length) texts.push("No curves are recorded.");
    document.getElementById("key").textContent = texts.join(" ");
  }

  function draw() {
    key();
    const charts = document.getElementById("charts");
    while (charts.children.length > figures.charts.length) {
      Plotly.purge(charts.lastChild.lastChild);
      charts.lastChild.remove();
    }
    // All boxes first: they share the width of the page.
    while (charts.children.length < figures.charts.length) makeBox();
    figures.charts.forEach(drawChart);
    drawSessions();
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
  }

  function mark() {
    document.querySelectorAll("input[data-run]").forEach(box => { box.checked = !hidden.has(Number(box.dataset.run)); });
  }

  document.querySelectorAll("button[data-axis]").forEach(button => button.addEventListener("click", () => {
    axis = button.dataset.axis;
    document.querySelectorAll("button[data-axis]").forEach(one => one.setAttribute("aria-pressed", String(one === button)));
    draw();
  }));
  document.getElementById("log").addEventListener("change", event => { isLog = event.target.checked; draw(); });
  document.getElementById("overview").addEventListener("change", event => {
    const run = event.target.dataset.run;
    if (run === undefined) return;
    if (event.target.checked) hidden.delete(Number(run)); else hidden.add(Number(run));
    draw();
  });
  dark.addEventListener("change", draw);

  // Follows runs that go on. The server answers 204 if nothing is new.
  let version = "";
  async function ask() {
    const status = document.getElementById("status");
    try {
      const answer = await fetch(`content?version=${encodeURIComponent(version)}`);
      status.textContent = "following";
      status.className = "";
      if (answer.status === 200) {
        const news = await answer.json();
        const open = [...document.querySelectorAll("#details details")].map(one => one.open);
        version = news.version;
        document.getElementById("written").textContent = news.written;
        document.getElementById("overview").innerHTML = news.overview;
        document.getElementById("details").innerHTML = news.details;
        document.querySelectorAll("#details details").forEach((one, i) => { one.open = Boolean(open[i]); });
        figures = news.figures;
        mark();
        draw();
      }
    } catch (error) {
      status.textContent = "the server does not answer";
      status.className = "lost";
    }
    setTimeout(ask, 1000);
  }
  draw();
  if ("live" in document.body.dataset) ask();
})();
