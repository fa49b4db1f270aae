// The viewer of the film page: series, scroll, window, zoom, pan, measure. Plain JavaScript, no build step.
// Grey frames come as stored values and are windowed here (PS3.3 C.11.2.1.2.1); others come as rendered images.
"use strict";

const KEPT = 400 * 1024 * 1024; // bytes of loaded frames that are kept
const LOADING = 3; // frames loaded ahead at a time
const share = document.body.dataset.share;
const words = document.body.dataset;
const canvas = document.getElementById("image");
const info = document.getElementById("info");
const slice = document.getElementById("slice");
const place = document.getElementById("place");
const preset = document.getElementById("preset");
const plane = document.createElement("canvas"); // the current frame, pixel by pixel
const frames = new Map(); // address -> promise of a loaded frame, oldest first
const view = { series: 0, index: 0, center: null, width: null, inverse: false, zoom: 1, x: 0, y: 0, tool: "window" };
const lines = new Map(); // "series/index" -> measured lines in image coordinates
let study = { series: [], presets: [] };
let shown = null; // what is drawn: { image, values, bitmap, low, high }
let kept = 0;
let playing = 0;
let ahead = 0;

// --- loading ---------------------------------------------------------------------------------------------------------

function address(image, what) {
  return `${share}/instances/${image.id}/frames/${image.frame}/${what}`;
}

async function fetched(url) {
  const answer = await fetch(url, { credentials: "same-origin" });
  if (answer.status === 401 || answer.status === 403 || answer.status === 410) location.reload();
  if (!answer.ok) throw new Error(String(answer.status));
  return answer;
}

async function loadValues(image) {
  const raw = await (await fetched(address(image, "values"))).arrayBuffer();
  const kind = image.bytes === 1 ? (image.signed ? Int8Array : Uint8Array) : image.signed ? Int16Array : Uint16Array;
  const values = new kind(raw);
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { image, values, bitmap: null, low, high, size: raw.byteLength };
}

async function loadPicture(image) {
  const blob = await (await fetched(address(image, "picture"))).blob();
  const bitmap = await createImageBitmap(blob);
  return { image, values: null, bitmap, low: 0, high: 255, size: 4 * bitmap.width * bitmap.height };
}

function load(image) {
  const key = address(image, "");
  if (!frames.has(key)) {
    const promise = (image.grey ? loadValues(image) : loadPicture(image)).then((frame) => {
      kept += frame.size;
      forget(key);
      return frame;
    });
    promise.catch(() => frames.delete(key));
    frames.set(key, promise);
  }
  return frames.get(key);
}

function forget(newest) {
  for (const [key, promise] of frames) {
    if (kept <= KEPT || key === newest) return;
    frames.delete(key);
    promise.then((frame) => (kept -= frame.size));
  }
}

async function loadAhead() {
  if (ahead) return;
  const images = current().images;
  const series = view.series;
  ahead = 1;
  for (let step = 1; step < images.length && series === view.series && kept < KEPT * 0.8; step += LOADING) {
    const wanted = [];
    for (let more = 0; more < LOADING && step + more < images.length; more += 1)
      wanted.push(load(images[(view.index + step + more) % images.length]).catch(() => null));
    await Promise.all(wanted);
  }
  ahead = 0;
}

// --- drawing ---------------------------------------------------------------------------------------------------------

function current() {
  return study.series[view.series];
}

function ownWindow(frame) {
  const image = frame.image;
  if (image.center !== null) return [image.center, image.width];
  const low = frame.low * image.slope + image.intercept;
  const high = frame.high * image.slope + image.intercept;
  return [(low + high) / 2, Math.max(1, high - low)];
}

function paint() {
  const { image, values, bitmap } = shown;
  plane.width = values ? image.columns : bitmap.width;
  plane.height = values ? image.rows : bitmap.height;
  const context = plane.getContext("2d");
  if (!values) {
    context.drawImage(bitmap, 0, 0);
    return;
  }
  const out = context.createImageData(plane.width, plane.height);
  const table = new Uint8ClampedArray(shown.high - shown.low + 1);
  const inverse = image.inverse !== view.inverse;
  for (let place = 0; place < table.length; place += 1) {
    const value = (shown.low + place) * image.slope + image.intercept;
    const level = ((value - (view.center - 0.5)) / Math.max(view.width - 1, 1e-6) + 0.5) * 255;
    table[place] = inverse ? 255 - level : level;
  }
  const pixels = new Uint32Array(out.data.buffer);
  for (let place = 0; place < pixels.length; place += 1)
    pixels[place] = 0xff000000 | (table[values[place] - shown.low] * 0x010101);
  context.putImageData(out, 0, 0);
}

function geometry() {
  const spacing = shown.image.spacing;
  const ratio = spacing ? spacing[0] / spacing[1] : 1; // height of a pixel to its width
  const fit = Math.min(canvas.width / plane.width, canvas.height / (plane.height * ratio));
  const scale = fit * view.zoom;
  return {
    sx: scale,
    sy: scale * ratio,
    left: (canvas.width - plane.width * scale) / 2 + view.x,
    top: (canvas.height - plane.height * scale * ratio) / 2 + view.y,
  };
}

function draw() {
  const context = canvas.getContext("2d");
  const dots = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * dots);
  canvas.height = Math.round(canvas.clientHeight * dots);
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (!shown) return;
  const at = geometry();
  context.imageSmoothingEnabled = at.sx < 4;
  context.imageSmoothingQuality = "high";
  context.drawImage(plane, at.left, at.top, plane.width * at.sx, plane.height * at.sy);
  drawLines(context, at, dots);
  drawWatermark(context, dots);
  const spot = `${view.index + 1} / ${current().images.length}`;
  const grey = shown.values ? `W ${Math.round(view.width)}  L ${Math.round(view.center)}` : "";
  info.textContent = `${spot}\n${grey}\n${Math.round(view.zoom * 100)} %`;
  place.textContent = spot;
  canvas.dataset.shown = `${view.series}/${view.index}`;
  canvas.dataset.window = grey ? `${Math.round(view.center)}/${Math.round(view.width)}` : "";
  canvas.dataset.zoom = view.zoom.toFixed(2);
}

function drawLines(context, at, dots) {
  context.strokeStyle = context.fillStyle = "#ffd54f";
  context.lineWidth = 1.5 * dots;
  context.font = `${13 * dots}px system-ui, sans-serif`;
  const lengths = [];
  for (const line of lines.get(`${view.series}/${view.index}`) || []) {
    const [x1, y1, x2, y2] = line;
    context.beginPath();
    context.moveTo(at.left + x1 * at.sx, at.top + y1 * at.sy);
    context.lineTo(at.left + x2 * at.sx, at.top + y2 * at.sy);
    context.stroke();
    const text = length(line);
    lengths.push(text);
    context.fillText(text, at.left + x2 * at.sx + 6 * dots, at.top + y2 * at.sy);
  }
  canvas.dataset.lengths = lengths.join(";");
}

function length([x1, y1, x2, y2]) {
  const { spacing, projected } = shown.image;
  if (!spacing) return `${Math.hypot(x2 - x1, y2 - y1).toFixed(1)} px`;
  const millimetres = Math.hypot((x2 - x1) * spacing[1], (y2 - y1) * spacing[0]);
  return `${millimetres.toFixed(1)} mm${projected ? words.detector : ""}`;
}

function drawWatermark(context, dots) {
  context.save();
  context.globalAlpha = 0.16;
  context.fillStyle = "#fff";
  context.font = `${15 * dots}px system-ui, sans-serif`;
  context.translate(canvas.width / 2, canvas.height / 2);
  context.rotate(-Math.PI / 7);
  const step = context.measureText(words.watermark).width + 90 * dots;
  const reach = Math.hypot(canvas.width, canvas.height) / 2;
  for (let y = -reach; y < reach; y += 130 * dots)
    for (let x = -reach - step; x < reach; x += step) context.fillText(words.watermark, x + (y % step), y);
  context.restore();
}

async function show() {
  const { series, index } = view;
  const images = current().images;
  if (!images.length) return;
  slice.max = images.length;
  slice.value = index + 1;
  try {
    if (!shown) info.textContent = words.loading;
    const frame = await load(images[index]);
    if (series !== view.series || index !== view.index) return;
    shown = frame;
  } catch {
    if (series === view.series && index === view.index) {
      shown = null;
      draw();
      info.textContent = words.failed;
      canvas.dataset.shown = `${series}/${index}`;
    }
    return;
  }
  if (view.center === null) [view.center, view.width] = ownWindow(shown);
  paint();
  draw();
  loadAhead();
}

function repaint() {
  if (!shown) return;
  paint();
  draw();
}

// --- what the person does --------------------------------------------------------------------------------------------

function go(index) {
  view.index = Math.max(0, Math.min(current().images.length - 1, index));
  show();
}

function openSeries(number) {
  Object.assign(view, { series: number, index: 0, center: null, width: null, inverse: false, zoom: 1, x: 0, y: 0 });
  shown = null;
  preset.value = "preset.image";
  for (const option of preset.options) {
    const found = study.presets.find((row) => row.name === option.value);
    option.hidden = option.disabled = Boolean(found) && found.modality !== current().modality;
  }
  for (const button of document.querySelectorAll("#series button"))
    button.setAttribute("aria-current", String(Number(button.dataset.number) === number));
  show();
}

function setPreset() {
  if (!shown) return;
  const found = study.presets.find((row) => row.name === preset.value);
  const { image, low, high } = shown;
  if (found) [view.center, view.width] = [found.center, found.width];
  else if (preset.value === "preset.image") [view.center, view.width] = ownWindow(shown);
  else [view.center, view.width] = ownWindow({ image: { ...image, center: null }, low, high });
  repaint();
}

function play() {
  clearInterval(playing);
  playing = playing ? 0 : setInterval(() => go((view.index + 1) % current().images.length), 80);
}

function reset() {
  Object.assign(view, { inverse: false, zoom: 1, x: 0, y: 0 });
  lines.clear();
  preset.value = "preset.image";
  setPreset();
  draw();
}

const commands = { invert: () => ((view.inverse = !view.inverse), repaint()), play, reset };

function zoomBy(factor) {
  view.zoom = Math.max(0.2, Math.min(20, view.zoom * factor));
  draw();
}

function inImage(event) {
  const dots = window.devicePixelRatio || 1;
  const box = canvas.getBoundingClientRect();
  const at = geometry();
  return [((event.clientX - box.left) * dots - at.left) / at.sx, ((event.clientY - box.top) * dots - at.top) / at.sy];
}

const drags = {
  window(dx, dy) {
    if (!shown.values) return;
    const step = Math.max(0.5, view.width / 300);
    view.width = Math.max(1, view.width + dx * step);
    view.center += dy * step;
    repaint();
  },
  pan(dx, dy) {
    const dots = window.devicePixelRatio || 1;
    view.x += dx * dots;
    view.y += dy * dots;
    draw();
  },
  zoom: (dx, dy) => zoomBy(Math.exp(-dy / 150)),
  scroll(dx, dy, event, drag) {
    drag.rest += dy;
    const steps = Math.trunc(drag.rest / 8);
    if (steps) {
      drag.rest -= steps * 8;
      go(view.index + steps);
    }
  },
  measure(dx, dy, event, drag) {
    [drag.line[2], drag.line[3]] = inImage(event);
    draw();
  },
};

const pointers = new Map();

function down(event) {
  if (!shown) return;
  canvas.setPointerCapture(event.pointerId);
  const drag = { x: event.clientX, y: event.clientY, rest: 0, tool: view.tool, line: null };
  if (event.button === 2) drag.tool = "zoom";
  if (event.button === 1) drag.tool = "pan";
  if (drag.tool === "measure") {
    const [x, y] = inImage(event);
    drag.line = [x, y, x, y];
    const key = `${view.series}/${view.index}`;
    lines.set(key, [...(lines.get(key) || []), drag.line]);
  }
  pointers.set(event.pointerId, drag);
}

function move(event) {
  const drag = pointers.get(event.pointerId);
  if (!drag || !shown) return;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (pointers.size === 2) {
    const [other] = [...pointers.entries()].filter(([id]) => id !== event.pointerId).map(([, one]) => one);
    const before = Math.hypot(drag.x - other.x, drag.y - other.y);
    const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
    if (before > 10) zoomBy(after / before);
    drags.pan(dx / 2, dy / 2);
  } else {
    drags[drag.tool](dx, dy, event, drag);
  }
  drag.x = event.clientX;
  drag.y = event.clientY;
}

function up(event) {
  pointers.delete(event.pointerId);
}

const keys = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 10, PageUp: -10 };

function listen() {
  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      if (event.ctrlKey) zoomBy(Math.exp(-event.deltaY / 300));
      else go(view.index + Math.sign(event.deltaY));
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    go(view.index + keys[event.key]);
  });
  slice.addEventListener("input", () => go(Number(slice.value) - 1));
  preset.addEventListener("change", setPreset);
  window.addEventListener("resize", draw);
  for (const button of document.querySelectorAll("[data-tool]"))
    button.addEventListener("click", () => {
      view.tool = button.dataset.tool;
      for (const one of document.querySelectorAll("[data-tool]"))
        one.setAttribute("aria-pressed", String(one === button));
    });
  if (matchMedia("(pointer: coarse)").matches) document.querySelector("[data-tool=scroll]").click();
  for (const button of document.querySelectorAll("[data-do]"))
    button.addEventListener("click", () => commands[button.dataset.do]());
}

function listSeries() {
  const list = document.getElementById("series");
  study.series.forEach((series, number) => {
    if (series.images.length) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.number = number;
      const picture = document.createElement("img");
      picture.alt = "";
      picture.src = `${share}/instances/${series.images[series.images.length >> 1].id}/thumbnail`;
      const title = `${series.number} ${series.modality} ${series.description}`;
      button.append(picture, `${title} (${series.images.length})`);
      button.addEventListener("click", () => openSeries(number));
      list.append(button);
    }
    for (const id of series.documents) {
      const link = document.createElement("a");
      link.href = `${share}/instances/${id}/document`;
      link.target = "_blank";
      link.rel = "noopener";
      link.textContent = `${words.document} PDF`;
      list.append(link);
    }
  });
}

async function start() {
  study = await (await fetched(`${share}/study`)).json();
  listen();
  listSeries();
  const first = study.series.findIndex((series) => series.images.length);
  if (first >= 0) openSeries(first);
}

start().catch(() => (info.textContent = words.failed));
