"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const similarity = bytes(data.nearness);
const CARDS_PER_STEP = 60;  // cards added on each scroll
const MIN_COSINE = 0.3;  // minimum cosine of a latent to a text for a search hit

// Five colors of the Inferno color map; inactive positions are transparent.
const STOPS = [[60, 15, 110], [145, 40, 105], [220, 80, 60], [250, 160, 25], [252, 250, 160]];
function colour(share) {
  const at = share * (STOPS.length - 1), low = Math.min(Math.floor(at), STOPS.length - 2), part = at - low;
  return STOPS[low].map((value, i) => value + part * (STOPS[low + 1][i] - value));
}

function heat(values) {
  const [height, width] = data.grid, canvas = document.createElement("canvas");
  canvas.width = width; canvas.height = height;
  const pixels = new ImageData(width, height);
  values.forEach((value, i) => {
    pixels.data.set([...colour(value / 255), value ? 110 + 110 * value / 255 : 0], 4 * i);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function thumb(latent, index) {
  const item = latent.groups.flat()[index], cells = data.grid[0] * data.grid[1], node = document.createElement("div");
  const x = item % data.columns, y = Math.floor(item / data.columns);
  node.className = "thumb";
  node.style.backgroundPosition = `${-x * data.thumbnail}px ${-y * data.thumbnail}px`;
  node.title = `${data.captions[item]}: ${latent.strengths[index]}`;
  latent.bytes ??= bytes(latent.heat);
  node.append(heat(latent.bytes.subarray(index * cells, (index + 1) * cells)));
  return node;
}

const percent = share => share >= 0.001 ? `${(100 * share).toFixed(1)} %` : `${(100 * share).toPrecision(1)} %`;
const purest = latent => Object.entries(latent.labels).filter(([, [, share]]) => share >= 0.6)
  .map(([kind, [name, share]]) => `${kind} ${name} ${Math.round(100 * share)} %`);
const summary = latent => [...purest(latent), ...latent.words.slice(0, 3).map(([word]) => word)];

function card(latent) {
  const node = document.createElement("article"), title = document.createElement("h2"), line = document.createElement("p");
  const density = document.createElement("small"), images = document.createElement("div");
  title.textContent = `latent ${latent.id}`;
  density.textContent = `active in ${percent(latent.density)}`;
  title.append(density);
  line.textContent = line.title = summary(latent).join(" · ");
  images.className = "images";
  images.append(...[0, 1, 2, 3].filter(i => i < latent.groups[0].length).map(i => thumb(latent, i)));
  node.tabIndex = 0;
  node.append(title, line, images);
  node.onclick = () => open(latent);
  node.onkeydown = event => { if (event.key === "Enter") open(latent); };
  return node;
}

function bars(svg, counts, labels, [width, height] = [230, 46]) {
  const top = Math.max(...counts, 1), step = width / counts.length;
  svg.setAttribute("width", width); svg.setAttribute("height", height + 14);
  svg.innerHTML = counts.map((count, i) => {
    const tall = height * Math.sqrt(count / top);
    return `<rect x="${i * step}" y="${height - tall}" width="${step - 1}" height="${tall}"><title>${count}</title></rect>`;
  }).join("") + labels.map(([at, text]) =>
    `<text x="${at * width}" y="${height + 12}" text-anchor="${at > 0.9 ? "end" : at < 0.1 ? "start" : "middle"}">${text}</text>`
  ).join("");
}

function open(latent) {
  const dialog = byId("detail");
  byId("detail-title").textContent = `Latent ${latent.id}`;
  byId("facts").textContent = [
    `Active in ${percent(latent.density)} of positions and ${percent(latent.images)} of images.`,
    ...Object.entries(latent.labels).map(([kind, [name, share]]) => `${kind}: ${name} in ${Math.round(100 * share)} % of the strongest images.`),
    latent.words.length ? `Nearest texts: ${latent.words.map(([word, near]) => `${word} (${near})`).join(", ")}.` : "",
  ].join(" ");
  bars(byId("histogram"), latent.histogram, [[0, "0"], [1, data.scale.toPrecision(3)]]);
  let index = 0;
  dialog.querySelectorAll(".images").forEach((place, group) => place.replaceChildren(...latent.groups[group].map(item => {
    const node = document.createElement("div"), text = document.createElement("div");
    node.className = "shown";
    text.textContent = `${latent.strengths[index]} ${data.captions[item]}`;
    node.append(thumb(latent, index++), text);
    return node;
  })));
  location.hash = latent.id;
  if (!dialog.open) dialog.showModal();
}

// Relevance of a latent to a query: matching labels rank first, then the cosine to texts that contain the query.
function relevance(latent, index, query) {
  if (String(latent.id) === query) return 10;
  const labelShare = Math.max(0, ...Object.values(latent.labels).filter(([name]) => name.toLowerCase().includes(query)).map(([, share]) => share));
  const cosines = data.words.map((word, i) => word.toLowerCase().includes(query) ? (similarity[index * data.words.length + i] - 128) / 127 : 0);
  return Math.max(labelShare >= 0.4 ? 1 + labelShare : 0, ...cosines, 0);
}

const ORDERS = {
  density: (a, b) => b.density - a.density,
  rare: (a, b) => a.density - b.density,
  pure: (a, b) => best(b) - best(a),
  id: (a, b) => a.id - b.id,
};
const best = latent => Math.max(0, ...Object.values(latent.labels).map(([, share]) => share));

let results = [], shown = 0;
function showMore() {
  byId("cards").append(...results.slice(shown, shown + CARDS_PER_STEP).map(card));
  shown += CARDS_PER_STEP;
}

function search() {
  const query = byId("search").value.trim().toLowerCase();
  if (query) {
    results = data.latents.map((latent, i) => [relevance(latent, i, query), latent]).filter(([value]) => value > MIN_COSINE)
      .sort(([a], [b]) => b - a).map(([, latent]) => latent);
  } else {
    results = [...data.latents].sort(ORDERS[byId("order").value]);
  }
  byId("cards").replaceChildren();
  shown = 0;
  showMore();
  byId("count").textContent = query ? `${results.length} of ${data.latents.length} latents`
    : `${data.latents.length} latents` + (data.dead ? `; ${data.dead} more are inactive in all images` : "");
}

byId("search").oninput = byId("order").onchange = search;
byId("controls").onsubmit = event => event.preventDefault();
byId("overlay").onchange = event => document.body.classList.toggle("plain", !event.target.checked);
if (data.grid[0] * data.grid[1] === 1) byId("overlay").click();  // with one position a heat map has no information
addEventListener("scroll", () => { if (innerHeight + scrollY > document.body.scrollHeight - 900 && shown < results.length) showMore(); });

const ramp = document.querySelector("#scale canvas").getContext("2d");
for (let x = 0; x < 120; x++) { ramp.fillStyle = `rgb(${colour(x / 119)})`; ramp.fillRect(x, 0, 1, 10); }
byId("end").textContent = data.scale.toPrecision(3);
const edges = data.density.edges;
bars(byId("density"), data.density.counts, [-4, -3, -2, -1, 0].filter(power => power >= edges[0])
  .map(power => [(power - edges[0]) / (edges.at(-1) - edges[0]), `${100 * 10 ** power} %`]));
search();
const linked = data.latents.find(latent => String(latent.id) === location.hash.slice(1));
if (linked) open(linked);
