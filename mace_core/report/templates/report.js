"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const figures = [...document.querySelectorAll("script.figure")].map((script) => ({
    node: document.getElementById(script.dataset.for),
    figure: JSON.parse(script.textContent),
  }));

  // Plotly does not read CSS variables: text, grid and axes follow the page's scheme from here.
  function themed(layout) {
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue(name).trim();
    const themed = structuredClone(layout);
    themed.font = { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colour("--ink") };
    themed.hoverlabel = { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } };
    themed.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--ink") };
    for (const key of Object.keys(themed).filter((k) => /^[xy]axis/.test(k))) {
      Object.assign(themed[key], {
        gridcolor: colour("--grid"), zerolinecolor: colour("--grid"), linecolor: colour("--line"),
        dividercolor: colour("--line"), tickfont: { color: colour("--soft") },
      });
    }
    return themed;
  }

  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const draw = () => figures.forEach(({ node, figure }) => Plotly.react(node, figure.data, themed(figure.layout), config));
  draw();
  dark.addEventListener("change", draw);

  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) links.get(entry.target.id)?.classList.toggle("here", entry.isIntersecting);
  }, { rootMargin: "-20% 0px -70% 0px" });
  document.querySelectorAll("section[id]").forEach((section) => seen.observe(section));

  const data = document.getElementById("viewer-data");
  if (!data) return;
  const say = (text) => {
    const message = document.getElementById("viewer-message");
    message.textContent = text;
    message.hidden = false;
  };
  const dataset = JSON.parse(data.textContent);
  for (const property of Object.values(dataset.properties)) {
    property.values = property.values.map((value) => (value === null ? NaN : value));
  }
  const warnings = new Chemiscope.Warnings();
  warnings.addHandler((text) => say(text));
  const places = { map: "viewer-map", info: "viewer-info", meta: "viewer-meta", structure: "viewer-structure" };
  Chemiscope.DefaultVisualizer.load(places, dataset, warnings)
    .then(() => document.querySelector(".viewer").classList.add("loaded"))
    .catch((error) => say(`The 3D view could not start (it needs WebGL): ${error.message}`));
})();
