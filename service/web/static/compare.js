// Compare pairs of images: slider, fade and difference in place of side by side, and one zoom for all pairs.
// Without this script the page shows the pairs side by side.
"use strict";

const ZOOMS = [1, 2, 4, 8];
let mode = "side";
let zoom = 0;

/** Return a pair's range input, which sets how much of the image after the edit shows. */
function addRange(pair) {
  const range = document.createElement("input");
  range.type = "range";
  range.min = 0;
  range.max = 100;
  range.value = 50;
  range.hidden = true;
  range.className = "compare-range";
  range.setAttribute("aria-label", `Seed ${pair.dataset.seed}: how much of the image after the edit shows`);
  range.addEventListener("input", () => show(pair, range));
  pair.querySelector(".pair-images").after(range);
  show(pair, range);
  return range;
}

function show(pair, range) {
  pair.style.setProperty("--shown", `${range.value}%`);
  pair.style.setProperty("--opacity", range.value / 100);
  range.setAttribute("aria-valuetext", `${range.value} % after`);
}

function setMode(next) {
  mode = next;
  for (const [pair, range] of pairs) {
    pair.dataset.mode = mode;
    range.hidden = !(mode === "slider" || mode === "fade");
  }
}

/** Zoom every pair to the same place, given as fractions of the image. */
function setZoom(level, x = 0.5, y = 0.5) {
  zoom = Math.min(Math.max(level, 0), ZOOMS.length - 1);
  const root = document.documentElement.style;
  root.setProperty("--zoom", ZOOMS[zoom]);
  root.setProperty("--zoom-x", `${100 * x}%`);
  root.setProperty("--zoom-y", `${100 * y}%`);
  controls.querySelector("output").value = `${100 * ZOOMS[zoom]} %`;
}

const controls = document.getElementById("zoom");
const modes = document.getElementById("modes");
const pairs = [...document.querySelectorAll(".compared")].map((pair) => [pair, addRange(pair)]);

if (controls && modes) {
  controls.hidden = modes.hidden = false;
  modes.addEventListener("change", (event) => setMode(event.target.value));
  controls.addEventListener("click", (event) => {
    const step = Number(event.target.dataset.zoom);
    if (step) setZoom(zoom + step);
  });
  for (const [pair] of pairs) {
    pair.addEventListener("pointermove", (event) => {
      if (!zoom || event.target.tagName !== "IMG") return;
      const box = event.target.closest("a").getBoundingClientRect();
      setZoom(zoom, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    });
  }
  setMode(modes.querySelector("input:checked").value);
}
